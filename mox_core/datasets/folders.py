"""The entries of a folder, in the same order on every machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mox_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence


def list_folder(path: str, expected: str) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of all other entries of a folder, without hidden ones.

    Args:
        path: the folder.
        expected: the end of the error's text: what the folder should contain.

    Returns:
        Two sorted lists of names.

    Raises:
        DataError: if the folder does not exist, or is a file.
    """
    folders: list[str] = []
    others: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else others).append(entry.name)
    except FileNotFoundError as error:
        raise DataError(f"there is no folder {path!r}. {expected}") from error
    except NotADirectoryError as error:
        raise DataError(f"{path!r} is a file, not a folder. {expected}") from error
    return sorted(folders), sorted(others)


def some(names: Sequence[str], most: int = 3) -> str:
    """Return up to `most` of some names, quoted and joined, for the text of an error."""
    return ", ".join(repr(name) for name in names[:most]) + (", ..." if len(names) > most else "")
