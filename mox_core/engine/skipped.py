"""The account of samples that could not be read."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from mox_core.engine.sources import Order, SampleSource


class SkipReport:
    """Names each bad sample once in a warning, counts them, and keeps the error that ends the run.

    tf.data turns an exception in Python code into a TensorFlow error without its type: `error` keeps the original, to
    be raised in its place.

    Attributes:
        names: the bad samples, in the order in which they were met.
        error: what ends the run; None while it may go on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.names: dict[str, None] = {}
        self.error: DataError | None = None

    def gaps(
        self, source: SampleSource, order: Order, before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]
    ) -> bool:
        """Takes note of what is missing between positions that should each be one step above the one before."""
        self.raise_error()
        for expected, next_position in zip(before.tolist(), after.tolist(), strict=True):
            for position in range(expected, next_position - order.workers, order.workers):
                self._note(source, source.name_at(position, order))
        return True

    def tail(self, source: SampleSource, order: Order, first: np.int64, stop: np.int64) -> bool:
        """Takes note of what cannot be read at the end of the positions [first, stop), of which the last cannot."""
        self.raise_error()  # tf.data reads on behind an error, and may find nothing but errors
        positions = range(int(first), int(stop), order.workers)
        missing = list(itertools.takewhile(lambda each: not self._can_be_read(source, order, each), positions[::-1]))
        if len(missing) * order.workers >= source.num_samples:
            self.nothing_read(source, order, missing[-1])
        for each in reversed(missing):
            self._note(source, source.name_at(each, order))
        return False

    def nothing_read(self, source: SampleSource, order: Order, position: int) -> None:
        """Ends the run: of a whole epoch from a position on, no sample can be read."""
        self._fail(
            f"none of the {source.num_samples} samples could be read, from {source.name_at(position, order)!r} on. "
            "Check that the files are there and are what the data set expects."
        )

    def raise_error(self) -> None:
        """Raises the error that ended the input, if one did."""
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Says how many samples were left out."""
        if self.names:
            tf.get_logger().warning("%d bad samples were left out of this run.", len(self.names))

    def _note(self, source: SampleSource, name: str) -> None:
        if source.on_bad_sample == "raise":
            self._fail(f"{name!r} cannot be read: it is {source.why_bad}.")
        with self._lock:
            known = name in self.names
            self.names[name] = None
        if not known:
            tf.get_logger().warning("%r cannot be read (%s): it is left out.", name, source.why_bad)

    def _fail(self, message: str) -> None:
        self.error = self.error or DataError(message)  # reading ahead goes on behind the first error
        raise self.error

    @staticmethod
    def _can_be_read(source: SampleSource, order: Order, position: int) -> bool:
        with tf.init_scope():
            try:
                source.fetch(source.index_at(tf.constant(position, tf.int64), order))
            except Exception:  # noqa: BLE001 (Python code in the ops of a source raises what it likes)
                return False
        return True
