"""Many files from or to a store: several at a time, each tried again where it fails, with lines of progress."""

from __future__ import annotations

import errno
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final, TypeVar

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_THREADS: Final = 16
TRIES: Final = 4
"""How often a file is tried where somebody waits for it."""
_FIRST_PAUSE: Final = 0.5
"""Seconds before the second try; each further pause is twice as long."""
_SECONDS_BETWEEN_LINES: Final = 10.0
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
    """Copy files, and log how far it is every ten seconds.

    Args:
        files: the files.
        what: what is being done, for the line of progress: 'fetching s3://bucket/flowers'.
        tries: how often each file is tried.

    Raises:
        OSError: the first that a file still raises after some tries; files that were not begun are left out.
    """
    progress = _Progress(what, len(files), sum(each.size for each in files))
    stop = threading.Event()

    def copy(each: Transfer) -> None:
        if stop.is_set():
            return
        persistently(each.copy, tries=tries, stop=stop)
        progress.add(each.size)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="mox-transfer") as pool:
        futures = [pool.submit(copy, each) for each in sorted(files, key=lambda each: -each.size)]
        left = set(futures)
        try:
            while left:
                done, left = wait(left, timeout=_SECONDS_BETWEEN_LINES, return_when="FIRST_EXCEPTION")
                for future in done:
                    future.result()
                progress.log_if_due()
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


def bytes_text(size: float) -> str:
    """Return a number of bytes for people: '1.2 GB'."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004
            return f"{size:.0f} {unit}" if unit in ("bytes", "kB") else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


@define
class _Progress:
    what: str
    files: int
    size: int
    _done: int = field(default=0, init=False)
    _copied: int = field(default=0, init=False)
    _begun: float = field(factory=time.monotonic, init=False)
    _said: float = field(factory=time.monotonic, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def add(self, size: int) -> None:
        with self._lock:
            self._done += 1
            self._copied += size

    def log_if_due(self) -> None:
        now = time.monotonic()
        if now - self._said < _SECONDS_BETWEEN_LINES or self._done == self.files:
            return
        self._said = now
        logging.getLogger("tensorflow").info(
            "%s: %d of %d files, %s of %s, %s/s",
            self.what,
            self._done,
            self.files,
            bytes_text(self._copied),
            bytes_text(self.size),
            bytes_text(self._copied / (now - self._begun)),
        )
