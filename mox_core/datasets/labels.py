"""The file labels.txt: the names of the classes by their indices, one `index: name` a line."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mox_core.datasets.folders import kind_of, read_bytes, reason_of
from mox_core.datasets.names import RULE, is_class_name
from mox_core.errors import DataError
from mox_core.stores.folder import is_remote

if TYPE_CHECKING:
    from collections.abc import Sequence

FILENAME: Final = "labels.txt"

_FORMAT = "Expected is one line for each class, `0: name of class 0`, with the indices 0, 1, 2, ... once each."
_LONGEST_INDEX: Final = 18  # digits
_SHOWN: Final = 100  # characters of a line


def has_labels(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a file of labels.

    Raises:
        DataError: if there is something of that name that is no regular file, or cannot be looked at.
    """
    if is_remote(path):
        return _content(path) is not None
    if not os.path.lexists(path):
        return False
    try:
        kind = kind_of(Path(path).stat().st_mode)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {reason_of(error)}.") from error
    if kind:
        raise DataError(f"{str(path)!r} is {kind}, not a regular file. {_FORMAT}")
    return True


def read_labels(path: str | os.PathLike[str], *, distinct: bool) -> list[str]:
    """Return the names of the classes in the order of their indices.

    Args:
        path: the file, or its URL.
        distinct: whether a name may occur only once: folders are named by classes; ImageNet has two classes `crane`.

    Raises:
        DataError: if the file has another form, or cannot be read.
    """
    names: dict[int, str] = {}
    seen: set[str] = set()
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        index, _, name = (part.strip() for part in line.partition(":"))
        if not (name and index.isascii() and index.isdigit() and len(index) <= _LONGEST_INDEX):
            raise DataError(f"line {number} of {str(path)!r} is {_cut(line)!r}. {_FORMAT}")
        if not is_class_name(name):
            raise DataError(f"line {number} of {str(path)!r} is {_cut(line)!r}. {RULE}")
        if int(index) in names:
            raise DataError(f"line {number} of {str(path)!r} gives index {int(index)} a second time. {_FORMAT}")
        if distinct and name in seen:
            raise DataError(f"line {number} of {str(path)!r} names class {name!r} a second time. {_FORMAT}")
        names[int(index)] = name
        seen.add(name)
    return _in_order(names, path)


def labels_text(names: Sequence[str]) -> str:
    """Return the content of a labels.txt in which the index of each class is its position in `names`."""
    return "".join(f"{index}: {name}\n" for index, name in enumerate(names))


def _lines(path: str | os.PathLike[str]) -> list[str]:
    content = _content(path)
    if content is None:
        raise DataError(f"{str(path)!r} cannot be read: {os.strerror(errno.ENOENT)}.")
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{str(path)!r} is not text in UTF-8 ({error.reason}). {_FORMAT}") from error


def _content(path: str | os.PathLike[str]) -> bytes | None:
    """Return the content of a file, or of one on a store; None where there is none."""
    try:
        return read_bytes(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {reason_of(error)}.") from error


def _cut(line: str) -> str:
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _in_order(names: dict[int, str], path: str | os.PathLike[str]) -> list[str]:
    if not names:
        raise DataError(f"{str(path)!r} names no class. {_FORMAT}")
    gaps = list(itertools.islice((index for index in range(max(names)) if index not in names), 3))
    if gaps:
        missing = ", ".join(map(str, gaps))
        raise DataError(f"{str(path)!r} goes up to index {max(names)} and lacks {missing}. {_FORMAT}")
    return [names[index] for index in range(len(names))]
