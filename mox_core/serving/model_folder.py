"""The folder of an exported model, which is looked at before TensorFlow is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

_FILE_OF_OTHER_FORMAT: Final = {
    "frozen_graph.pb": "FROZEN_PB",
    "model.tflite": "TFLITE",
    "model.onnx": "ONNX",
}


def check_folder(folder: Path, told: str) -> None:
    """Refuse what is no SavedModel, and say where one is."""
    if (folder / "saved_model.pb").is_file():
        return
    for file, name in _FILE_OF_OTHER_FORMAT.items():
        if (folder / file).exists():
            raise UsageError(f"{told!r} is an export of {name}; what reads images here is an export of TF_SERVING.")
    versions = [int(each.parent.name) for each in folder.glob("*/saved_model.pb") if each.parent.name.isdecimal()]
    if versions:
        newest = f"{told.rstrip('/')}/{max(versions)}"
        raise UsageError(f"{told!r} holds versions of a model: give the folder of one of them, such as {newest!r}.")
    what = "there is no folder" if not folder.exists() else "there is no saved_model.pb in"
    raise UsageError(f"{what} {told!r}: give the folder of an export of TF_SERVING, as 'log/1'.")
