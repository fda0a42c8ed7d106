"""Several files or folders that appear in a folder together or not at all, also where the process is killed.

They are made in a hidden folder beside their places. Then what they replace is moved into it, a list of their names is
written, and each is renamed. Whoever comes after a process that was killed finds its hidden folder, and undoes what it
did: what it had placed goes, what it had moved comes back. The kernel knows whether the process still lives, by a lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from mox_core.errors import DataError
from mox_core.file_lock import lock_open_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NEW, _OLD, _PLACING = "new", "old", "placing"
_TRIES: Final = 10


@frozen
class WholeSet:
    """Files or folders to appear in a folder.

    Attributes:
        target: the folder.
        hidden: the hidden folder in it.
    """

    target: Path
    hidden: Path

    @property
    def folder(self) -> Path:
        """Where they are made."""
        return self.hidden / _NEW

    def publish(self, replaced: Iterable[str]) -> None:
        """Rename them to their places.

        Args:
            replaced: names of entries of the target that go.
        """
        for name in replaced:
            (self.target / name).rename(self.hidden / _OLD / name)
        made = sorted(os.listdir(self.folder))  # noqa: PTH208 (names)
        with (self.hidden / _PLACING).open("x") as file:
            json.dump(made, file)
            file.flush()
            os.fsync(file.fileno())
        for name in made:
            (self.folder / name).rename(self.target / name)
        sync_to_disk(self.target)


@contextlib.contextmanager
def whole_set(target: Path, name: str) -> Iterator[WholeSet]:
    """Make files or folders that appear in a folder when the block calls `publish`, and only if that ends well.

    Args:
        target: the folder, which is made where it does not exist.
        name: the name of the set: the hidden folder's begins with it.
    """
    target.mkdir(parents=True, exist_ok=True)
    hidden, lock = _hidden(target, name)
    try:
        for part in (_NEW, _OLD):
            (hidden / part).mkdir()
        yield WholeSet(target, hidden)
    finally:
        _undo(target, hidden)
        os.close(lock)


def undo_unfinished(target: Path, name: str) -> list[str]:
    """Undo what processes have left that were killed while they made a set.

    Returns:
        The names of their hidden folders.

    Raises:
        DataError: if a process that lives is making a set of that name in the folder.
    """
    undone = []
    for path in sorted(target.iterdir()) if target.is_dir() else []:
        if not path.name.startswith(_prefix(name)) or path.is_symlink() or not path.is_dir():
            continue
        try:
            lock = _locked(path)
        except FileNotFoundError:
            continue  # its process has just ended well
        if lock is None:
            raise DataError(
                f"another process is writing {name!r} into {str(target)!r}, in {path.name!r} there. Wait until it has "
                "ended, or end it."
            )
        try:
            _undo(target, path)
        finally:
            os.close(lock)
        undone.append(path.name)
    return undone


def _prefix(name: str) -> str:
    return f".{name}-unfinished-"


def _hidden(target: Path, name: str) -> tuple[Path, int]:
    """Return a new hidden folder, and the descriptor that holds its lock."""
    for _ in range(_TRIES):  # one that sweeps up just now may take it for a leftover before it is locked
        hidden = Path(tempfile.mkdtemp(dir=target, prefix=_prefix(name)))
        with contextlib.suppress(FileNotFoundError):
            lock = _locked(hidden)
            if lock is not None and hidden.exists():
                return hidden, lock
            if lock is not None:
                os.close(lock)
    raise DataError(f"other processes keep removing {_prefix(name) + '*'!r} in {str(target)!r}.")


def _locked(folder: Path) -> int | None:
    """Return a descriptor that holds the lock of a folder until it is closed; None if another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock_open_file(descriptor)  # without locks on a file system, two writers at a time are the user's to avoid
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _undo(target: Path, hidden: Path) -> None:
    """Bring a folder into the state before a set, or after it if all of it was placed, and remove the hidden folder.

    Killed at any moment and called again, it does the same: what tells the two cases apart goes last.
    """
    made = _names_of(hidden / _PLACING)
    if made is not None and not any(os.path.lexists(hidden / _NEW / name) for name in made):
        shutil.rmtree(hidden / _OLD, ignore_errors=True)
    else:
        for name in made or ():
            if os.path.lexists(target / name) and not os.path.lexists(hidden / _NEW / name):
                (target / name).rename(hidden / _NEW / name)
        for path in (hidden / _OLD).iterdir() if (hidden / _OLD).is_dir() else ():
            if not os.path.lexists(target / path.name):
                path.rename(target / path.name)
        (hidden / _PLACING).unlink(missing_ok=True)
    shutil.rmtree(hidden, ignore_errors=True)


def _names_of(placing: Path) -> list[str] | None:
    """Return the names that were to be placed; None where none was yet."""
    try:
        names = json.loads(placing.read_text())
    except (FileNotFoundError, ValueError):  # ValueError: killed while it was written, before the first was placed
        return None
    is_list = isinstance(names, list) and all(isinstance(name, str) and name == Path(name).name for name in names)
    return names if is_list else None  # nothing else is written here


def sync_to_disk(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
