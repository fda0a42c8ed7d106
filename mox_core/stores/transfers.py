"""Many files from or to a store: several at a time, each tried again where it fails, with lines of progress."""

from __future__ import annotations

import errno
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final, TypeVar

from attrs import frozen

from mox_core.terminal.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_THREADS: Final = 16
TRIES: Final = 4
"""How often a file is tried where somebody waits for it."""
_FIRST_PAUSE: Final = 0.5
"""Seconds before the second try; each further pause is twice as long."""
_SECONDS_TO_SIGNALS: Final = 1.0
"""Python handles signals between two waits."""
_FINAL: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_FINAL_NUMBERS: Final = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)
"""What another try does not mend: classes of plugins have one of these numbers and a base of their own."""

T = TypeVar("T")


@frozen
class Transfer:
    """A file to copy.

    Attributes:
        name: its name in an error.
        size: its bytes.
        copy: copies it, or raises an OSError.
    """

    name: str
    size: int
    copy: Callable[[], None]


def transfer(files: Sequence[Transfer], what: str, *, tries: int) -> None:
    """Copy files, and show how far it is.

    Args:
        files: the files.
        what: what is being done, for the line of progress: 'fetching s3://bucket/flowers'.
        tries: how often each file is tried.

    Raises:
        OSError: the first that a file still raises after some tries; files that were not begun are left out.
    """
    stop = threading.Event()

    def copy(each: Transfer) -> None:
        if stop.is_set():
            return
        persistently(each.copy, tries=tries, stop=stop)
        line.advance(each.size)

    with (
        progress(what, total=sum(each.size for each in files), unit="bytes") as line,
        ThreadPoolExecutor(_THREADS, thread_name_prefix="mox-transfer") as pool,
    ):
        futures = [pool.submit(copy, each) for each in sorted(files, key=lambda each: -each.size)]
        left = set(futures)
        try:
            while left:
                done, left = wait(left, timeout=_SECONDS_TO_SIGNALS, return_when="FIRST_EXCEPTION")
                for future in done:
                    future.result()
        finally:
            stop.set()


def persistently(ask: Callable[[], T], *, tries: int = TRIES, stop: threading.Event | None = None) -> T:
    """Return what a store answers, which is asked again after a pause where it fails.

    Args:
        ask: asks it.
        tries: how often at most.
        stop: ends a pause, and there are no further tries.

    Raises:
        OSError: the last that it raised, at once where another try does not mend it (`is_final`).
    """
    stop = stop or threading.Event()
    for number in range(tries - 1):
        try:
            return ask()
        except OSError as error:
            if is_final(error) or stop.wait(_FIRST_PAUSE * 2**number):
                raise
    return ask()


def is_final(error: OSError) -> bool:
    """Return whether an error is of a file, and not of the way to the store: another try does not mend it."""
    return isinstance(error, _FINAL) or error.errno in _FINAL_NUMBERS
