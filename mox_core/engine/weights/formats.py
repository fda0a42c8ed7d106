"""The formats of files of weights: what a path holds, and how it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mox_core.engine.weights.hub_presets import is_preset, read_preset
from mox_core.engine.weights.keras_files import is_keras_file, read_keras_file
from mox_core.engine.weights.tensorflow_files import is_saved_model, read_saved_model

if TYPE_CHECKING:
    from pathlib import Path

    from mox_core.engine.weights.stored import StoredWeights

KERAS_SUFFIXES: Final = (".h5", ".keras", ".hdf5")
KNOWN: Final = (
    "weights and models of Keras (.weights.h5, .keras, .h5), folders of presets of keras_hub, SavedModels, and "
    "checkpoints of TensorFlow, by their prefix"
)


def read_weights(path: Path) -> StoredWeights | None:
    """Read the weights that another program has written; None for what may be a checkpoint.

    Raises:
        CheckpointError: if they are damaged.
    """
    if path.is_dir():
        if is_saved_model(path):
            return read_saved_model(path)
        return read_preset(path) if is_preset(path) else None
    return read_keras_file(path) if path.is_file() and is_keras_file(path) else None
