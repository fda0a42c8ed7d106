"""A lock on a file that one process holds, and that dies with it.

The lock is the kernel's (`flock`), not the file: what a killed process leaves locks nobody out, whichever machine,
container or boot it was of, and a number of a process that is in use again means nothing. File systems that are shared
by machines (NFS, SMB) pass it on to their server. What the file says is only for people: who holds it.

The package `filelock` cannot say who: it empties the file of the holder before it knows whether it gets the lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from attrs import define, frozen

if TYPE_CHECKING:
    from pathlib import Path

_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What `flock` fails with on a file system that has no locks."""

_LONGEST_RECORD: Final = 1000
_SECONDS_TO_WRITE: Final = 0.5
"""A process that has just taken a lock says within this time who it is."""


@frozen
class Holder:
    """The process that holds a lock, as far as its file says so.

    Attributes:
        pid: its number on its machine, or in its container.
        machine: the name of the machine.
        since: when it took the lock.
    """

    pid: int
    machine: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on machine {self.machine!r}, since {self.since}"


@define(eq=False)
class FileLock:
    """A lock that this process holds.

    Attributes:
        path: the file.
        left_by: whom the file named before, of a process that has not given the lock back; None for nobody.
        shared: whether others can see the lock: there are file systems without locks.
    """

    path: Path
    left_by: Holder | None
    shared: bool
    _descriptor: int | None

    def is_in_place(self) -> bool:
        """Whether the file is still where it was: it goes with its folder, and then another process can lock anew."""
        return self._descriptor is not None and _is_at(self._descriptor, self.path)

    def release(self) -> None:
        """Give the lock back, and remove its file; do nothing in a process that was forked from the holder."""
        if self._descriptor is None:
            return
        _held.discard(self)
        # While the lock is held: whoever has opened the file meanwhile sees that it is not in its place any more.
        with contextlib.suppress(OSError):
            if self.is_in_place():
                self.path.unlink()
        self.drop()

    def drop(self) -> None:
        """Close the file: the lock is gone where no other process has inherited it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def take(path: Path) -> FileLock | Holder | None:
    """Take a lock without waiting.

    Args:
        path: the file, in a folder that exists. It is made, and `release` removes it.

    Returns:
        The lock; where another process holds it that process, or None if its file does not say which.

    Raises:
        OSError: if the file cannot be made or written.
    """
    while True:
        descriptor = _open(path)
        try:
            shared = lock_open_file(descriptor)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            return holder
        except BaseException:
            os.close(descriptor)
            raise
        lock = FileLock(path, _read(descriptor), shared, descriptor)
        if not lock.is_in_place():  # the holder has just given it back, and removed its file
            lock.drop()
            continue
        if not os.access(path, os.W_OK):  # another user's, who has died
            path.unlink()
            lock.drop()
            continue
        _held.add(lock)
        try:
            _write(descriptor)
        except BaseException:
            lock.release()
            raise
        return lock


def _open(path: Path) -> int:
    flags = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags | os.O_RDWR, 0o666)
    except PermissionError:
        if not path.is_file():
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def lock_open_file(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; return False where the file system has no locks.

    Raises:
        BlockingIOError: if another process holds the lock.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _write(descriptor: int) -> None:
    since = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    text = json.dumps({"pid": os.getpid(), "machine": socket.gethostname(), "since": since})
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _read(descriptor: int) -> Holder | None:
    """Return whom a file names, None where it names nobody: it may be empty, or anybody's."""
    try:
        found = json.loads(os.pread(descriptor, _LONGEST_RECORD, 0))
        pid, machine, since = found["pid"], found["machine"], found["since"]
        datetime.strptime(since, "%Y-%m-%d %H:%M:%S UTC")  # noqa: DTZ007  (it says so)
        return Holder(int(pid), str(machine), since)
    except (ValueError, TypeError, KeyError, RecursionError, OSError):
        return None


def _holder(descriptor: int) -> Holder | None:
    """Return who holds the lock of a file: who has just taken it is about to write it there."""
    end = time.monotonic() + _SECONDS_TO_WRITE
    while (holder := _read(descriptor)) is None and time.monotonic() < end:
        time.sleep(0.01)
    return holder


_held: set[FileLock] = set()


def _drop_in_child() -> None:
    """Close the files of locks in a process that is forked: it would hold them when the run is over, or was killed."""
    for lock in _held:
        lock.drop()
    _held.clear()


os.register_at_fork(after_in_child=_drop_in_child)
