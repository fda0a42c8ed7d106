"""Many files from or to a store: several at a time, each tried again where it fails, with lines of progress."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_THREADS: Final = 16
_FIRST_PAUSE: Final = 0.5
"""Seconds before the second try; each further pause is twice as long."""
_SECONDS_BETWEEN_LINES: Final = 10.0
_FINAL: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""What another try does not mend."""


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
        _persistently(each.copy, tries, stop)
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


def bytes_text(size: float) -> str:
    """Return a number of bytes for people: '1.2 GB'."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004
            return f"{size:.0f} {unit}" if unit in ("bytes", "kB") else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _persistently(copy: Callable[[], None], tries: int, stop: threading.Event) -> None:
    for number in range(tries):
        try:
            return copy()
        except _FINAL:
            raise
        except OSError:
            if number == tries - 1 or stop.wait(_FIRST_PAUSE * 2**number):
                raise
    return None


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
