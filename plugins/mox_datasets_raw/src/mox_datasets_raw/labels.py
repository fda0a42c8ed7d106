"""The classes in the labels.txt of a data set."""

from __future__ import annotations

from mox_core.datasets import labels
from mox_core.datasets.folders import join
from mox_core.errors import DataError


def read_labels(base_dir: str, labels_filename: str) -> list[str] | None:
    """Return the names of the classes in the order of their indices; None if there is no labels.txt.

    Raises:
        DataError: if the file is not of the expected form or cannot be read, or a file of another name than labels.txt
            does not exist.
    """
    path = join(base_dir, labels_filename)
    if labels.has_labels(path):
        return labels.read_labels(path, distinct=True)
    if labels_filename == labels.FILENAME:
        return None
    raise DataError(f"there is no file {path!r}. Leave labels_filename away to do without it.")
