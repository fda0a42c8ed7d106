"""SIGTERM and Ctrl-C: the first ends a run cleanly, the second at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

import tensorflow as tf
from attrs import define

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

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
    before = {each: signal.getsignal(each) for each in _SIGNALS}

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        interrupts.received = signal.Signals(number).name
        tf.get_logger().warning(
            "%s: the run ends after this step and saves. A second one ends it at once.", interrupts.received
        )
        restore()

    for each in _SIGNALS:
        signal.signal(each, note)
    try:
        yield interrupts
    finally:
        restore()
