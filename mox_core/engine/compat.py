"""What TF1-style code expects of TensorFlow, for as long as a run lasts."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from typing import TYPE_CHECKING, cast

import tensorflow as tf

from mox_core.engine import iterators, logs, randomness
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def run_scope() -> Iterator[None]:
    """Everything that a run changes in TensorFlow, undone when it ends.

    Raises:
        UsageError: where the script has switched the behaviour of TF2 off.
    """
    if not tf.executing_eagerly():
        raise UsageError(
            "TensorFlow does not execute eagerly, and mox runs on TF2: remove tf.compat.v1.disable_v2_behavior() and "
            "disable_eager_execution(), and call mox.run outside of graphs. TF1-style code in model_fn needs neither."
        )
    _let_slim_find_its_layers()
    with (
        logs.each_line_once(),
        hashable_tensors(),
        randomness.stateless_random_ops(),
        iterators.iterators_are_sources(),
    ):
        yield


def _let_slim_find_its_layers() -> None:
    """Gives what `tf_slim.batch_norm` is made of its old place in TensorFlow and tf_keras, where both are in use."""
    if "tf_slim" in sys.modules and importlib.util.find_spec("tf_keras"):
        layers = importlib.import_module("tf_keras.src.legacy_tf_layers")
        sys.modules.setdefault("tf_keras.legacy_tf_layers", layers)
        importlib.import_module("tensorflow.python.framework.ops").__dict__.setdefault("Tensor", tf.Tensor)
        importlib.import_module("tf_keras").__dict__.setdefault("legacy_tf_layers", layers)


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
