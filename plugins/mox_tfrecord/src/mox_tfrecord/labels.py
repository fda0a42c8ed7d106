"""The file labels.txt: which index stands for which class, one `index: name` a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FILENAME = "labels.txt"

_FORMAT = "Expected is one line for each class, `0: name of class 0`, with the indices 0, 1, 2, ... once each."


def read_labels(path: Path) -> list[str]:
    """Returns the names of the classes in the order of their indices; two may share one, as ImageNet's cranes do.

    Raises:
        DataError: if the file is not of that form.
    """
    names: dict[int, str] = {}
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{str(path)!r} is not text in UTF-8 ({error.reason}). {_FORMAT}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        index, _, name = (part.strip() for part in line.partition(":"))
        if not (index.isascii() and index.isdigit() and name):
            raise DataError(f"line {number} of {str(path)!r} is {line!r}. {_FORMAT}")
        if int(index) in names:
            raise DataError(f"line {number} of {str(path)!r} is {line!r}, and that index came before. {_FORMAT}")
        names[int(index)] = name
    if set(names) != set(range(len(names))) or not names:
        raise DataError(f"{str(path)!r} has the indices {sorted(names)}. {_FORMAT}")
    return [names[index] for index in range(len(names))]


def labels_text(names: Sequence[str]) -> str:
    """Returns the content of the labels.txt that gives the classes their places in `names` as indices."""
    return "".join(f"{index}: {name}\n" for index, name in enumerate(names))
