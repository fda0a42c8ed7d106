"""The display of a terminal: a line for each work that goes on, and the log above them.

Only this module imports rich.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from attrs import define
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from mox_core.terminal.parts import ROUTINE, Progress, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Task, TaskID

_BAR: Final = 20
_WIDTH_WITH_BAR: Final = 100
_SECONDS_BETWEEN_ROUTINE: Final = 10.0
_STYLES: Final = {logging.WARNING: "yellow", logging.ERROR: "bold red", logging.CRITICAL: "bold red"}


@define
class _Line(Progress):
    """A line of the display."""

    bars: Bars
    task: TaskID

    def advance(self, more: int) -> None:
        self.bars.advance(self.task, more)

    def show(self, done: int, note: str = "") -> None:
        self.bars.update(self.task, completed=done, note=note)


class _Display:
    """The lines at the bottom, as long as there are any."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._stack = contextlib.ExitStack()
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def task(self, what: str, total: int | None, unit: str) -> Iterator[Progress]:
        """Show a line for the block."""
        with self._lock:
            if self._bars is None:
                self._bars = self._stack.enter_context(_bars())
                self._stack.enter_context(_log_above(self._bars.console))
            bars = self._bars
            task = bars.add_task(what, total=total, unit=unit, note="")
        try:
            yield _Line(bars, task)
        finally:
            with self._lock:
                bars.remove_task(task)
                if not bars.tasks:
                    self._bars = None
                    self._stack.close()


task: Final = _Display().task


class _Amount(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(share(task.completed, task.total, task.fields["unit"]))


def _bars() -> Bars:
    """Return a display with a row for each task. In a narrow terminal notes are cut off and bars left out."""
    console = Console(stderr=True)
    room_for_bar = console.width >= _WIDTH_WITH_BAR
    return Bars(
        SpinnerColumn(),
        TextColumn("[bold]{task.description}", table_column=Column(no_wrap=True)),
        *([BarColumn(bar_width=_BAR)] if room_for_bar else []),
        _Amount(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn(
            "{task.fields[note]}",
            style="cyan",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        console=console,
        transient=True,
        expand=True,
        refresh_per_second=5,
    )


@contextlib.contextmanager
def _log_above(console: Console) -> Iterator[None]:
    """Print the log above the lines, in place of what handlers would write to the terminal."""
    logger = logging.getLogger("tensorflow")
    terminals = (sys.__stderr__, sys.__stdout__)
    others = [handler for handler in logger.handlers if getattr(handler, "stream", None) in terminals]
    own = _Above(console)
    for each in others:
        logger.removeHandler(each)
    logger.addHandler(own)
    try:
        yield
    finally:
        own.close()
        logger.removeHandler(own)
        for each in others:
            logger.addHandler(each)


class _Above(logging.Handler):
    """Prints records above the lines: of those whose values the lines show, one now and then, and one before others."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._left: logging.LogRecord | None = None
        self._printed = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, ROUTINE, False):
            if time.monotonic() - self._printed < _SECONDS_BETWEEN_ROUTINE:
                self._left = record
                return
            self._left, self._printed = None, time.monotonic()
        self._print_left()  # what comes next may be said of it
        self._print(record)

    def close(self) -> None:
        self._print_left()
        super().close()

    def _print_left(self) -> None:
        if self._left is not None:
            self._print(self._left)
            self._left, self._printed = None, time.monotonic()

    def _print(self, record: logging.LogRecord) -> None:
        text = record.getMessage().replace("\t", "  ")
        self._console.print(Text(text, style=_STYLES.get(record.levelno, "")), soft_wrap=True)
