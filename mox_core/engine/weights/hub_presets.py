"""Folders in which keras_hub keeps a preset: a backbone, and the head of a task beside it.

The weights are read as those of Keras; what the classes are called stands in the configuration of the task.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from mox_core.engine.weights.keras_files import read_layers
from mox_core.engine.weights.stored import StoredWeights
from mox_core.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

_CONFIG: Final = "config.json"
_TASK: Final = "task.json"
_BACKBONE_WEIGHTS: Final = "model.weights.h5"
_TASK_WEIGHTS: Final = "task.weights.h5"
_LABELS: Final = ("labels", "class_names", "label_names")


def is_preset(folder: Path) -> bool:
    """Whether a folder is a preset."""
    return (folder / _CONFIG).is_file() and any(folder.glob("*.weights.*"))


def read_preset(folder: Path) -> StoredWeights:
    """Read the backbone of a preset, and its task where it has one.

    Raises:
        CheckpointError: if its weights are damaged, or in more than one file.
    """
    names = [name for name in (_BACKBONE_WEIGHTS, _TASK_WEIGHTS) if (folder / name).is_file()]
    if _BACKBONE_WEIGHTS not in names:
        raise CheckpointError(
            f"{str(folder)!r} is a preset of keras_hub whose weights are not in {_BACKBONE_WEIGHTS!r}. Load it with "
            "keras_hub, and save them in one file: backbone.save_weights('net.weights.h5')."
        )
    layers = [layer for name in names for layer in read_layers(folder / name)]
    task = _read_json(folder / _TASK) if (folder / _TASK).is_file() else {}
    settings = task.get("config", {})
    labels: list[Any] = next((settings[name] for name in _LABELS if isinstance(settings.get(name), list)), [])
    kind = "a preset of keras_hub" if _TASK_WEIGHTS in names else "the backbone of a preset of keras_hub"
    return StoredWeights(str(folder), kind, layers, ordered=True, counted=True, labels=tuple(map(str, labels)))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} is damaged ({type(error).__name__}: {error}).") from error
    return read if isinstance(read, dict) else {}
