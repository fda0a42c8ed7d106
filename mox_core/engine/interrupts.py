"""SIGTERM and Ctrl-C: the first ends a run cleanly, the second at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupts:
    """Whether the run has been asked to end.

    Attributes:
        received: the name of the signal, None as long as there was none.
    """

    def __init__(self) -> None:
        self.received: str | None = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Takes the signals in the block. Outside the main thread Python allows no handlers: there it does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.getsignal(each) for each in _SIGNALS}

        def note(number: int, _frame: FrameType | None) -> None:
            self.received = signal.Signals(number).name
            tf.get_logger().warning("%s: the run ends after this step and saves. A second one ends it at once.", self.received)
            for each in _SIGNALS:
                signal.signal(each, before[each])

        for each in _SIGNALS:
            signal.signal(each, note)
        try:
            yield
        finally:
            for each in _SIGNALS:
                signal.signal(each, before[each])
