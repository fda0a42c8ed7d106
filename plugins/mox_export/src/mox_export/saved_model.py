"""`ExportKeys.TF_SERVING`: a SavedModel with the user's names on its inputs and outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mox_core.serving.description import PREPROCESS
from mox_export.graphs import Holder, clear_devices, save, signature
from mox_export.tf_internals import change_graphs

if TYPE_CHECKING:
    from mox_core.sdk import ExportedModel

SIGNATURES = ("serving_default", "predict_object")
"""The default of TensorFlow Serving's clients, and the name that MoXing's clients ask for."""


class _SavedModel:
    """The exporter: a SavedModel with the signatures of `SIGNATURES`, which are one function."""

    def check(self, model: ExportedModel) -> None:
        """Raise UsageError if the model would not work where it is loaded."""
        signature(model)

    def __call__(self, model: ExportedModel, directory: str) -> None:
        """Write the model.

        Args:
            model: the model.
            directory: an empty folder.

        Raises:
            UsageError: if the model cannot be exported.
        """
        # The names of a signature's inputs come from its arguments, those of its outputs from the keys of its result.
        signatures = dict.fromkeys(SIGNATURES, signature(model))
        save(_holder(model), directory, signatures)
        change_graphs(Path(directory), clear_devices)
        model.description.write(directory)


def _holder(model: ExportedModel) -> Holder:
    holder = Holder(model.variables)
    if model.preprocess is not None:
        setattr(holder, PREPROCESS, model.preprocess)
    return holder


export = _SavedModel()
