"""SIGTERM and Ctrl-C: the first ends a run cleanly, the second at once.

Python calls its handlers between two instructions of the main thread, so not while that waits for a step. A thread
listens in their place, to the pipe into which Python writes the number of each signal at the moment at which it comes.
A step is let finish. Where nothing would be lost, in the start of a run or in an export, the handler raises
`RunInterrupted` there; where that takes long in a start, as the main thread waits for TensorFlow, the thread ends the
process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field

from mox_core.engine.interruption import RunInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
RUN_ENDS: Final = "the run ends after this step and saves. A second one ends it at once."
PROCESS_ENDS: Final = "the second signal, the process ends without saving."
RUN_ENDS_UNSAVED: Final = (
    "the run ends after this step; nothing is saved, as there is no log_dir. A second one ends it at once."
)
RUN_ENDS_WITHOUT_TRAINING: Final = "the run ends after this step. A second one ends it at once."
_IS_ENDING: Final = "the run is at its end. A second one ends it at once."
_STILL_WAITS: Final = "%s: the run has not ended yet: %s. Nothing is lost as long as it is let end."
_A_STEP: Final = "a step computes, or waits for input_fn"
_SECONDS_TO_ABANDON: Final = 5.0
"""A start that is not abandoned within this time waits for TensorFlow: for a process that has gone, for instance."""


@define
class ReceivedSignal:
    """Whether the process has been asked to end.

    Attributes:
        name: the name of the signal, None as long as there was none.
        says: what is logged behind the name of the first signal.
        abandons: whether a signal abandons what the main thread is doing.
        patient: whether it waits, then, until Python comes to do so.
        waits_for: what may keep the run from ending, to be said where it lasts; '' for nothing.
    """

    says: str
    name: str | None = None
    abandons: bool = field(default=False, init=False)
    patient: bool = field(default=True, init=False)
    waits_for: str = field(default=_A_STEP, init=False)

    def steps_are_over(self, waits_for: str) -> None:
        """Say no more of steps.

        Args:
            waits_for: what may keep the run from ending now; '' for nothing.
        """
        self.says, self.waits_for = _IS_ENDING, waits_for

    @contextlib.contextmanager
    def abandoning(self, says: str, *, patient: bool) -> Iterator[None]:
        """Let a signal abandon the block.

        Args:
            says: what is logged behind the name of the signal.
            patient: whether the block may take its time to end; if not, the process ends without it.

        Raises:
            RunInterrupted: at a signal in the block, or if there was one before.
        """
        before = self.says
        self.says, self.patient, self.abandons = says, patient, True
        try:
            self._raise_if_received()
            yield
        except Exception:
            # TensorFlow may have made another one of it: a RuntimeError of pybind11, an InvalidArgumentError.
            self._raise_if_received()
            raise
        finally:
            self.abandons = False
            if self.name is None:  # else it is about to be said
                self.says = before
        self._raise_if_received()  # somebody may have caught it, and left something half done

    def _raise_if_received(self) -> None:
        if self.name:
            raise RunInterrupted(self.name)


@contextlib.contextmanager
def catch_signals(first: str = RUN_ENDS, second: str = PROCESS_ENDS) -> Iterator[ReceivedSignal]:
    """Catch the signals of the block. Outside of the main thread, where Python allows no handlers, catch none.

    Args:
        first: what is logged behind the name of the first signal.
        second: what is written behind the name of the second one, before the process ends.
    """
    received = ReceivedSignal(first)
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    listener = threading.Thread(target=_listen, args=(reader, received, second), name="mox-signals", daemon=True)
    listener.start()
    before = _Handlers({each: signal.getsignal(each) for each in _SIGNALS}, signal.set_wakeup_fd(writer), received)
    _replaced.append(before)
    for each in _SIGNALS:
        signal.signal(each, _handler(received))
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
    received: ReceivedSignal

    def restore(self) -> None:
        for each, handler in self.handlers.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)  # None: one that Python did not set
        signal.set_wakeup_fd(self.wakeup_fd)


def _handler(received: ReceivedSignal) -> Callable[[int, object], None]:
    def abandon_or_leave_to_listener(number: int, _frame: object) -> None:
        if received.abandons:
            received.abandons = False
            received.name = received.name or signal.Signals(number).name
            raise RunInterrupted(received.name)

    return abandon_or_leave_to_listener


def _listen(reader: int, received: ReceivedSignal, second: str) -> None:
    """Keep the name of the first signal, and end the process at the second."""
    first, said_to_wait = 0, False
    while True:
        waits_for_it = first and received.abandons and not received.patient
        seconds = _SECONDS_TO_ABANDON if waits_for_it or (first and not said_to_wait) else None
        if not select.select([reader], [], [], seconds)[0]:
            if waits_for_it and received.abandons:
                _end_process(first, "the process ends, as TensorFlow does not come back.")
            elif not received.abandons and received.waits_for:
                said_to_wait = True
                tf.get_logger().warning(_STILL_WAITS, signal.Signals(first).name, received.waits_for)
            continue
        number = os.read(reader, 1)
        if not number:
            return
        if number[0] not in set(_SIGNALS):
            continue
        if first:
            _end_process(number[0], second)
        first = number[0]
        _note(signal.Signals(first).name, received.says)


def _note(name: str, says: str) -> None:
    """Tell all runs of this process: one may go on in a hook of another."""
    tf.get_logger().warning("%s: %s", name, says)
    for each in _replaced:
        each.received.name = each.received.name or name


def _end_process(number: int, why: str) -> None:
    os.write(2, f"{signal.Signals(number).name}: {why}\n".encode())
    os._exit(128 + number)  # what a shell reports for a process that the signal has ended


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
