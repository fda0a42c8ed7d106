"""Folders that several processes of a machine use at a time, and that the last of them removes.

Each holds a lock of the kernel on the folder, shared with the others. Who gets it alone at its end is the last.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def use_folder(folder: Path) -> None:
    """Make a folder, and use it as long as this process lives.

    Raises:
        OSError: if it cannot be made.
    """
    _use(folder, os.getpid())


@functools.cache
def remove_when_unused(folder: Path) -> None:
    """Remove a folder when this process ends, unless others still use it: then the last of them does."""
    atexit.register(_remove, folder, os.getpid())


@functools.cache
def _use(folder: Path, _process: int) -> int:
    """Return a descriptor of the folder that holds the lock."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        os.close(descriptor)  # the last one before has just removed it


def _remove(folder: Path, process: int) -> None:
    if process != os.getpid():  # a fork of it, which shares its lock
        return
    with contextlib.suppress(OSError):  # no folder that could be made
        os.close(_use(folder, process))
    try:
        # Opened anew: the lock that has just been closed lives on in processes that were forked from this one.
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    except OSError:  # a file system without locks
        pass
    shutil.rmtree(folder, ignore_errors=True)
