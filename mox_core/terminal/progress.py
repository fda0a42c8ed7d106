"""How far a work is: a line at the bottom of a terminal, under the log; elsewhere a line of the log now and then.

All work of a process shares one display, whose tasks come and go. It is there only where stderr is a terminal and the
user has not asked for plain lines, as by the flag `--plain`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from attrs import define, field

from mox_core.terminal.parts import Progress, share

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS_BETWEEN_LINES: Final = 30.0
_plain = 0
"""How many blocks want plain lines."""


@contextlib.contextmanager
def plain_lines(wanted: bool) -> Iterator[None]:  # noqa: FBT001
    """Show plain lines in the block, if they are wanted."""
    global _plain  # noqa: PLW0603  (as long as the block lasts, for all threads)
    _plain += wanted
    try:
        yield
    finally:
        _plain -= wanted


def is_live() -> bool:
    """Return whether there is a terminal to show a display on."""
    if _plain or os.environ.get("TERM") == "dumb":
        return False
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # None, or closed
        return False


@contextlib.contextmanager
def progress(what: str, *, total: int | None, unit: str, only_live: bool = False) -> Iterator[Progress]:
    """Show how far a work is, as long as the block lasts.

    Args:
        what: the work, as 'Writing train'.
        total: the number of units, None where it is not known.
        unit: the unit in the plural, as 'images'; 'bytes' are shown as kB, MB, GB.
        only_live: whether nothing is said where there is no display.
    """
    if is_live():
        from mox_core.terminal import live  # noqa: PLC0415  (rich, only where there is a terminal)

        with live.task(what, total, unit) as task:
            yield task
    else:
        yield Progress() if only_live else _Lines(what, total, unit)


@define
class _Lines(Progress):
    """How far a work is, as lines of the log, the first after half a minute."""

    what: str
    total: int | None
    unit: str
    _done: int = field(default=0, init=False)
    _next: float = field(factory=lambda: time.monotonic() + _SECONDS_BETWEEN_LINES, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def advance(self, more: int) -> None:
        with self._lock:
            self._say(self._done + more)

    def show(self, done: int, note: str = "") -> None:
        del note
        with self._lock:
            self._say(done)

    def _say(self, done: int) -> None:
        self._done, now = done, time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS_BETWEEN_LINES
            logging.getLogger("tensorflow").info("%s: %s", self.what, share(done, self.total, self.unit))
