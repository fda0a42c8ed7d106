"""Remote files that are changed in place or added to: stores cannot do either, so a local copy is, and is uploaded."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def edited_copy(filesystem: Any, path: str, mode: str) -> EditedCopy:
    """Return a local copy of a remote file, opened for a mode such as 'a', 'r+' or 'w+'."""
    number, name = tempfile.mkstemp(prefix="mox-file-")
    os.close(number)
    try:
        is_new = not filesystem.exists(path)
        if mode.startswith("r") or (mode.startswith("a") and not is_new):
            filesystem.get_file(path, name)
        opened = EditedCopy(name, f"{mode[0]}+b")
    except BaseException:
        Path(name).unlink()
        raise
    opened.bind(filesystem, path, is_changed=mode.startswith("w") or is_new)
    return opened


class EditedCopy(io.BufferedRandom):
    """A local copy of a remote file, which is uploaded by `flush` and `close` if it was changed."""

    def __init__(self, name: str, mode: str) -> None:
        super().__init__(io.FileIO(name, mode))
        self._copy = Path(name)
        self._filesystem: Any = None
        self._path = ""
        self._is_changed = False

    def bind(self, filesystem: Any, path: str, *, is_changed: bool) -> None:
        """Say where it belongs."""
        self._filesystem, self._path, self._is_changed = filesystem, path, is_changed

    def write(self, data: Any) -> int:
        """Write bytes, and return how many."""
        self._is_changed = True
        return super().write(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write several pieces."""
        for line in lines:
            self.write(line)

    def truncate(self, size: int | None = None) -> int:
        """Cut the copy off."""
        self._is_changed = True
        return super().truncate(size)

    def flush(self) -> None:
        """Upload the copy, if it was changed."""
        super().flush()
        if self._is_changed and self._filesystem is not None:
            self._filesystem.put_file(str(self._copy), self._path)
            self._is_changed = False

    def close(self) -> None:
        """Upload the copy, if it was changed, and remove it."""
        if self.closed:
            return
        try:
            super().close()  # flushes
        finally:
            if not self.raw.closed:
                self.raw.close()
            self._copy.unlink(missing_ok=True)
