"""The account of samples that could not be read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import tensorflow as tf

from mox_core.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from mox_core.engine.sources import SampleSource


class SkipReport:
    """Names each bad sample once in a warning, counts them, and keeps the error that ends the run.

    tf.data turns an exception in Python code into a TensorFlow error without its type: `error` keeps the original, to be
    raised in its place.

    Attributes:
        names: the bad samples, in the order in which they were met.
        error: what ends the run; None while it may go on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.names: dict[str, None] = {}
        self.error: DataError | None = None

    def gap(self, source: SampleSource, seed: int, first: np.int64, end: np.int64) -> bool:
        """Takes note that the samples at positions [first, end) could not be read."""
        if end - first >= source.num_samples:
            self._fail(
                f"none of the {source.num_samples} samples could be read, from {self._name(source, seed, int(first))!r} on. "
                "Check that the files are there and are what the data set expects."
            )
        for position in range(int(first), int(end)):
            name = self._name(source, seed, position)
            if source.on_bad_sample == "raise":
                self._fail(f"{name!r} cannot be read: it is cut off, empty, or not of a known format.")
            self._note(name)
        return True

    def raise_error(self) -> None:
        """Raises the error that ended the input, if one did."""
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Says how many samples were left out."""
        if self.names:
            tf.get_logger().warning("%d bad samples were left out of this run.", len(self.names))

    def _note(self, name: str) -> None:
        with self._lock:
            known = name in self.names
            self.names[name] = None
        if not known:
            tf.get_logger().warning("%r cannot be read (cut off, empty, or of no known format): it is left out.", name)

    def _fail(self, message: str) -> None:
        self.error = DataError(message)
        raise self.error

    @staticmethod
    def _name(source: SampleSource, seed: int, position: int) -> str:
        with tf.init_scope():
            return source.describe(int(source.index_at(tf.constant(position, tf.int64), seed)))
