"""The file labels.txt: the names of the classes by their indices, one `index: name` a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mox_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FILENAME: Final = "labels.txt"

_FORMAT = "Expected is one line for each class, `0: name of class 0`, with the indices 0, 1, 2, ... once each."


def read_labels(path: Path, *, distinct: bool) -> list[str]:
    """Return the names of the classes in the order of their indices.

    Args:
        path: the file.
        distinct: whether a name may occur only once: folders are named by classes; ImageNet has two classes `crane`.

    Raises:
        DataError: if the file has another form.
    """
    names: dict[int, str] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        index, _, name = (part.strip() for part in line.partition(":"))
        if not (name and index.isascii() and index.isdigit()):
            raise DataError(f"line {number} of {str(path)!r} is {line!r}. {_FORMAT}")
        if int(index) in names:
            raise DataError(f"line {number} of {str(path)!r} gives index {int(index)} a second time. {_FORMAT}")
        if distinct and name in names.values():
            raise DataError(f"line {number} of {str(path)!r} names class {name!r} a second time. {_FORMAT}")
        names[int(index)] = name
    return _in_order(names, path)


def labels_text(names: Sequence[str]) -> str:
    """Return the content of a labels.txt in which the index of each class is its position in `names`."""
    return "".join(f"{index}: {name}\n" for index, name in enumerate(names))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{str(path)!r} is not text in UTF-8 ({error.reason}). {_FORMAT}") from error


def _in_order(names: dict[int, str], path: Path) -> list[str]:
    if not names:
        raise DataError(f"{str(path)!r} names no class. {_FORMAT}")
    gaps = sorted(set(range(max(names))) - set(names))[:3]
    if gaps:
        missing = ", ".join(map(str, gaps))
        raise DataError(f"{str(path)!r} goes up to index {max(names)} and lacks {missing}. {_FORMAT}")
    return [names[index] for index in range(len(names))]
