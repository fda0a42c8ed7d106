"""What TF1-style code expects of TensorFlow, for as long as a run lasts."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

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

    def hash_of(tensor: object) -> int:
        return id(tensor) if hasattr(tensor, "graph") else original(cast("tf.Tensor", tensor))

    tf.Tensor.__hash__ = hash_of  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        tf.Tensor.__hash__ = original  # type: ignore[method-assign]
