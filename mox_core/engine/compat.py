"""What TF1-style code expects of TensorFlow, for as long as a run lasts."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import tensorflow as tf

from mox_core.engine import logs, randomness

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def run_scope() -> Iterator[None]:
    """Everything that a run changes in TensorFlow, undone when it ends."""
    with logs.each_line_once(), hashable_tensors(), randomness.stateless_random_ops():
        yield


@contextlib.contextmanager
def hashable_tensors() -> Iterator[None]:
    """Lets tensors of a graph be keys of a dict, as in `feed_dict={images: array}`; `==` stays elementwise."""
    original = tf.Tensor.__hash__
    tf.Tensor.__hash__ = lambda self: id(self) if hasattr(self, "graph") else original(self)
    try:
        yield
    finally:
        tf.Tensor.__hash__ = original
