"""SIGTERM and Ctrl-C: the first ends a run cleanly, the second at once.

Python calls its handlers between two instructions of the main thread, so not while that waits for a step. A thread
listens in their place, to the pipe into which Python writes the number of each signal at the moment at which it comes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@define
class Interrupts:
    """Whether the run has been asked to end.

    Attributes:
        received: the name of the signal, None as long as there was none.
    """

    received: str | None = None


@contextlib.contextmanager
def watched() -> Iterator[Interrupts]:
    """Takes the signals in the block. Outside the main thread Python allows no handlers: there none is taken."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    listener = threading.Thread(target=_listen, args=(ear, interrupts), name="mox-signals", daemon=True)
    listener.start()
    before = _Before({each: signal.getsignal(each) for each in _SIGNALS}, signal.set_wakeup_fd(mouth))
    _taken.append(before)
    for each in _SIGNALS:
        signal.signal(each, _leave_to_listener)
    try:
        yield interrupts
    finally:
        before.restore()
        _taken.remove(before)
        os.close(mouth)
        listener.join()
        os.close(ear)


@define(eq=False)
class _Before:
    """What took the signals before a run."""

    handlers: dict[signal.Signals, Any]
    wakeup_fd: int

    def restore(self) -> None:
        for each, handler in self.handlers.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)  # None: one that Python did not set
        signal.set_wakeup_fd(self.wakeup_fd)


def _leave_to_listener(_number: int, _frame: object) -> None:
    """Does nothing, in place of what would end the process."""


def _listen(ear: int, interrupts: Interrupts) -> None:
    """Takes note of the first signal, and ends the process at the second."""
    while number := os.read(ear, 1):
        name = next((each.name for each in _SIGNALS if each == number[0]), None)
        if name and interrupts.received:
            os.write(2, f"{name}: the second signal, the process ends without saving.\n".encode())
            os._exit(128 + number[0])  # what a shell reports for a process that the signal has ended
        if name:
            interrupts.received = name
            tf.get_logger().warning("%s: the run ends after this step and saves. A second one ends it at once.", name)


_taken: list[_Before] = []
_fork = threading.local()


def _hold() -> None:
    """Lets signals wait while a process forks: until then, they would be told to the run."""
    _fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _let_come() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _fork.mask)


def _give_back_in_child() -> None:
    """Lets the signals end a process that user code forks from a run: a reader of data, say."""
    if _taken:
        _taken[0].restore()
        _taken.clear()
    _let_come()


os.register_at_fork(before=_hold, after_in_parent=_let_come, after_in_child=_give_back_in_child)
