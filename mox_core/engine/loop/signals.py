"""SIGTERM and Ctrl-C: the first ends a run cleanly, the second at once.

Python calls its handlers between two instructions of the main thread, so not while that waits for a step. A thread
listens in their place, to the pipe into which Python writes the number of each signal at the moment at which it comes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
RUN_ENDS: Final = "the run ends after this step and saves. A second one ends it at once."
PROCESS_ENDS: Final = "the second signal, the process ends without saving."


@define
class ReceivedSignal:
    """Whether the process has been asked to end.

    Attributes:
        name: the name of the signal, None as long as there was none.
    """

    name: str | None = None


@contextlib.contextmanager
def catch_signals(first: str = RUN_ENDS, second: str = PROCESS_ENDS) -> Iterator[ReceivedSignal]:
    """Catch the signals of the block. Outside of the main thread, where Python allows no handlers, catch none.

    Args:
        first: what is logged behind the name of the first signal.
        second: what is written behind the name of the second one, before the process ends.
    """
    received = ReceivedSignal()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    task = (reader, received, first, second)
    listener = threading.Thread(target=_listen, args=task, name="mox-signals", daemon=True)
    listener.start()
    before = _Handlers({each: signal.getsignal(each) for each in _SIGNALS}, signal.set_wakeup_fd(writer))
    _replaced.append(before)
    for each in _SIGNALS:
        signal.signal(each, _leave_to_listener)
    try:
        yield received
    finally:
        before.restore()
        _replaced.remove(before)
        os.close(writer)
        listener.join()
        os.close(reader)


@define(eq=False)
class _Handlers:
    """What handled the signals before."""

    handlers: dict[signal.Signals, Any]
    wakeup_fd: int

    def restore(self) -> None:
        for each, handler in self.handlers.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)  # None: one that Python did not set
        signal.set_wakeup_fd(self.wakeup_fd)


def _leave_to_listener(_number: int, _frame: object) -> None:
    """Do nothing, in place of what would end the process."""


def _listen(reader: int, received: ReceivedSignal, first: str, second: str) -> None:
    """Keep the name of the first signal, and end the process at the second."""
    while number := os.read(reader, 1):
        name = next((each.name for each in _SIGNALS if each == number[0]), None)
        if name and received.name:
            os.write(2, f"{name}: {second}\n".encode())
            os._exit(128 + number[0])  # what a shell reports for a process that the signal has ended
        if name:
            received.name = name
            tf.get_logger().warning("%s: %s", name, first)


_replaced: list[_Handlers] = []
_fork = threading.local()


def _block_signals() -> None:
    """Block the signals while a process forks: the child would take them for the run's."""
    _fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _fork.mask)


def _restore_in_child() -> None:
    """Restore the handling of signals in a process that user code forks from a run: a reader of data, say."""
    if _replaced:
        _replaced[0].restore()
        _replaced.clear()
    _unblock_signals()


os.register_at_fork(before=_block_signals, after_in_parent=_unblock_signals, after_in_child=_restore_in_child)
