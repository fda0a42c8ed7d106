"""Folders in which TensorFlow Datasets has prepared one of the published data sets: mox-tfds reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mox_core import UnknownNameError, get_dataset
from mox_core.errors import DataError
from mox_core.stores.folder import is_remote
from mox_tfrecord.sizes import SIZES

_INFO: Final = "dataset_info.json"


def is_prepared(folder: str, name: str) -> bool:
    """Return whether a folder of this machine is one of a prepared data set, or holds one under its name."""
    if is_remote(folder):
        return False
    return (Path(folder) / _INFO).is_file() or any((Path(folder) / name).glob(f"**/{_INFO}"))


def of_tfds(name: str, split_name: str, folder: str, **options: Any) -> Any:
    """Return a split of a prepared data set.

    Raises:
        DataError: if mox-tfds is not installed.
    """
    if name == "tf_flowers":  # it has one split
        first = SIZES["flowers"]["train"]
        split_name = f"train[:{first}]" if split_name == "train" else f"train[{first}:]"
    try:
        return get_dataset("tfds", split_name, folder, tfds_name=name, **options)
    except UnknownNameError as error:
        raise DataError(
            f"{folder!r} holds what TensorFlow Datasets has prepared of {name!r}: pip install mox-tfds, which reads it."
        ) from error
