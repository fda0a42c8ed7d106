"""The output of the child processes of `mox launch`, passed on to that of the launcher under their names.

The rules to keep: lines are passed on whole, so that those of several processes do not mix, but nothing is held back
for long: not a line of any length, and not one without an end, as those of progress bars. Where a line has no end yet
and another process has something to say, the line is broken off, and goes on behind its name again. Bytes are not
looked at, but for newlines and carriage returns. Memory is bounded: while nobody reads what is passed on, the
processes wait.
"""

from __future__ import annotations

import math
import os
import re
import select
import time
from collections import deque
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_CHUNK: Final = 65536  # the capacity of a pipe: one read gets everything that an ended process has written

_LONGEST_HELD: Final = 65536  # bytes of a line without its end: more are passed on at once

_LONGEST_REMEMBERED: Final = 2000  # bytes of a line that are shown once more when its process has failed

_IN_SIGHT: Final = 40  # lines that a terminal shows

_LINE_END: Final = re.compile(rb"\r?\n|\r")


def write_all(fd: int, data: bytes) -> None:
    """Write without a buffer, which would keep a part when the reader has closed the pipe."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # another program that shares the terminal has made it so
            select.select([], [fd], [])


def prefix(name: str, place: int, target: int) -> bytes:
    """Return what stands before the lines of the process of a name and a place; in colour on a terminal."""
    text = f"{name} | "
    return (f"\033[{31 + (place + 5) % 6}m{text}\033[0m" if os.isatty(target) else text).encode()


def screens(fds: Sequence[int]) -> dict[int, Screen]:
    """Return a `Screen` for each of some files: the same one for those that are one file, as under `2>&1`."""
    found: dict[int, Screen] = {}
    for fd in fds:
        same = [screen for other, screen in found.items() if os.path.sameopenfile(fd, other)]
        found[fd] = same[0] if same else Screen()
    return found


class Screen:
    """A file that several pipes are passed on to.

    Attributes:
        owner: the pipe whose line there has no end yet; None at the begin of a line.
    """

    def __init__(self) -> None:
        self.owner: Pipe | None = None
        self._newest: deque[bytes] = deque(maxlen=_IN_SIGHT)

    def add(self, line: bytes) -> None:
        """Note a line that has its end."""
        self._newest.append(line)

    def shows(self, lines: Iterable[bytes]) -> bool:
        """Return whether lines that were added here are still in sight."""
        return all(any(line is each for each in self._newest) for line in lines)

    def break_off(self) -> bytes:
        """Return what ends the line that is open, if one is, for somebody else to begin one."""
        is_open, self.owner = self.owner is not None, None
        return b"\n" if is_open else b""


class Pipe:
    """The stdout or stderr of a child process.

    Attributes:
        source: where it is read from.
        target: the file that it is passed on to.
        due: the time, of `time.monotonic`, at which the begin of a line is passed on though its end has not come.
    """

    def __init__(
        self,
        source: IO[bytes],
        target: int,
        screen: Screen,
        *,
        prefix: bytes,
        last_lines: deque[bytes],
        patience: float,
    ) -> None:
        self.source = source
        self.target = target
        self.due = math.inf
        self._screen = screen
        self._patience = patience
        self._prefix = prefix
        self._last_lines = last_lines
        self._held = b""
        self._line = b""  # what has been passed on of the line that has no end yet
        self._is_back = False  # whether the cursor is back at the begin of that line, after a carriage return

    def read(self) -> bytes | None:
        """Read, and return what is to be written now; None at the end of the output."""
        data = os.read(self.source.fileno(), _CHUNK)
        return self._take(data) if data else None

    def overdue(self) -> bytes:
        """Return the begin of a line whose end has not come."""
        data, self._held, self.due = self._held, b"", math.inf
        return self._show(data, b"")

    def finish(self) -> bytes:
        """Close the pipe and return the rest; a last line without an end is given one."""
        self.source.close()
        return self._show(self._held, b"\n") if self._held or self._line else b""

    def _take(self, data: bytes) -> bytes:
        had_begun = bool(self._held)
        data, self._held = self._held + data, b""
        shown, position = [], 0
        for end in _LINE_END.finditer(data):
            shown.append(self._show(data[position : end.start()], end.group()))
            position, had_begun = end.end(), False
        self._held = data[position:]
        if self._held and (self._screen.owner is self or len(self._held) > _LONGEST_HELD):
            shown.append(self.overdue())
        elif not self._held:
            self.due = math.inf
        elif not had_begun:
            self.due = time.monotonic() + self._patience
        return b"".join(shown)

    def _show(self, text: bytes, end: bytes) -> bytes:
        """Return what passes on a part of a line and its end: a newline, a carriage return, or none yet."""
        is_mine = self._screen.owner is self
        if text:
            begin = b"" if is_mine and not self._is_back else self._prefix
            shown = (b"" if is_mine else self._screen.break_off()) + begin + text + end
        elif self._line:  # its end alone: of no use where it was broken off
            shown = end if is_mine else b""
        elif end == b"\r":  # a progress bar that begins with it
            return b""
        else:
            shown = self._screen.break_off() + self._prefix + end
        self._remember(text, end)
        if shown:
            self._screen.owner = None if end.endswith(b"\n") else self
        return shown

    def _remember(self, text: bytes, end: bytes) -> None:
        line = text if self._is_back and text else self._line + text
        self._line, self._is_back = line[:_LONGEST_REMEMBERED], end == b"\r" or (self._is_back and not text)
        if end.endswith(b"\n"):
            self._last_lines.append(self._line)
            self._screen.add(self._line)
            self._line, self._is_back = b"", False
