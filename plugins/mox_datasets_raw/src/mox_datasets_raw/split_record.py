"""The record of what a split has written, by which it tells its own files from those of users."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mox_core.datasets.folders import reason_of
from mox_core.name_lists import some

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD: Final = ".mox-split.json"
"""A hidden file in each part: relative path to size and time of change (ns) of each file."""


def write_record(part: Path) -> None:
    """Write the record of a part, of all that is in it."""
    (part / RECORD).write_text(json.dumps({"files": {path: list(state) for path, state in _content(part)}}))


def foreign(part: Path) -> str:
    """Return why a folder holds other things than what a split has written, as the end of a sentence; '' if not."""
    if part.is_symlink() or not part.is_dir():
        return "is a link" if part.is_symlink() else "is no folder"
    try:
        written = dict(json.loads((part / RECORD).read_text())["files"])
        found = [(path, state) for path, state in _content(part) if path != RECORD]
    except FileNotFoundError:
        return f"has no {RECORD}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"cannot be compared with its {RECORD} ({reason_of(error)})"
    others = [path for path, state in found if written.get(path) != list(state)]
    return f"holds what was added or changed since: {some(others)}" if others else ""


def _content(part: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the path of each file below a folder, and its size and time of change; of an empty folder its path."""
    for folder, folders, files in os.walk(part, onerror=_raise):
        names = [*files, *(name for name in folders if Path(folder, name).is_symlink())]
        if not names and not folders:
            yield os.path.relpath(folder, part), (-1, -1)
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 (there may be millions)
            status = os.lstat(path)
            size = status.st_size if stat.S_ISREG(status.st_mode) else -1
            yield os.path.relpath(path, part), (size, status.st_mtime_ns)


def _raise(error: OSError) -> None:
    raise error
