"""`ExportKeys.TFLITE`: one file for LiteRT, which was called TensorFlow Lite, the runtime for phones and small devices.

TensorFlow itself converts. The file holds float32 weights and one signature, `serving_default`, with the model's names.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from mox_core.errors import UsageError
from mox_export.graphs import Holder, no_such_op, quiet, save, signature
from mox_export.tf_internals import ConverterError, unconverted_ops

if TYPE_CHECKING:
    from mox_core.sdk import ExportedModel

FILE = "model.tflite"
_SIGNATURE = "serving_default"


class _TFLite:
    """The exporter: `FILE` is of the ops that every LiteRT runtime has."""

    def check(self, model: ExportedModel) -> None:
        """Raise UsageError if the model cannot be converted, by converting it."""
        _convert(model)

    def __call__(self, model: ExportedModel, directory: str) -> None:
        """Write the file.

        Args:
            model: the model.
            directory: an empty folder.

        Raises:
            UsageError: if the model cannot be exported, or LiteRT lacks an op.
        """
        Path(directory, FILE).write_bytes(_convert(model))


export = _TFLite()


def _convert(model: ExportedModel) -> bytes:
    try:
        with tempfile.TemporaryDirectory() as folder:
            save(Holder(model.variables), folder, {_SIGNATURE: signature(model)})
            with quiet():
                return tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[_SIGNATURE]).convert()
    except ConverterError as error:
        ops = unconverted_ops(error)
        if any(op.startswith("TensorList") for op in ops):
            raise UsageError(
                "LiteRT runs loops over lists of tensors, such as recurrent layers, on batches of one size only: give "
                "the layers unroll=True, export with auto_batch=False and batches of one size, or choose another "
                "format of mox.ExportKeys."
            ) from error
        if ops:
            raise no_such_op("LiteRT", ops) from error
        raise UsageError(f"the model cannot be converted to TFLITE: {str(error).splitlines()[0]}") from error
