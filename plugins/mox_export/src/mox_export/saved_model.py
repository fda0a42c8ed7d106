"""`ExportKeys.TF_SERVING`: a SavedModel with the user's names on its inputs and outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils  # type: ignore[attr-defined]  # not in the stubs

from mox_export.graphs import Holder, clear_devices, quiet, signature

if TYPE_CHECKING:
    from mox_core.sdk import ExportedModel

SIGNATURES = ("serving_default", "predict_object")
"""The name that TensorFlow Serving asks for by itself, and the one that clients of the original ask for."""


class _SavedModel:
    """Writes a SavedModel with the signatures of `SIGNATURES`, which are one function."""

    def check(self, model: ExportedModel) -> None:
        """Refuses a model that would not work where it is loaded."""
        signature(model)

    def __call__(self, model: ExportedModel, directory: str) -> None:
        """Writes the model.

        Args:
            model: what is exported.
            directory: an empty folder.

        Raises:
            UsageError: where the model does what cannot be exported.
        """
        # The names of a signature's inputs come from its arguments, those of its outputs from the keys of its result.
        signatures = dict.fromkeys(SIGNATURES, signature(model))
        with quiet():  # TensorFlow names the folder, which is not the final one
            tf.saved_model.save(Holder(model.variables), directory, signatures=signatures)
        _clear_devices(Path(directory))


export = _SavedModel()


def _clear_devices(directory: Path) -> None:
    """Takes the devices out of the file."""
    file = directory / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta_graph in saved.meta_graphs:
        clear_devices(meta_graph.graph_def)
    file.write_bytes(saved.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(directory))  # it holds a checksum of the file
