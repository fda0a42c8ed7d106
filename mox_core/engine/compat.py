"""What TF1-style code expects of TensorFlow, for as long as a run lasts."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import sys
import warnings
from typing import TYPE_CHECKING, Any, cast

import tensorflow as tf
from attrs import frozen

from mox_core.engine import iterators, logs, randomness
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
        layers_of_tf1(),
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


@contextlib.contextmanager
def layers_of_tf1() -> Iterator[None]:
    """Lets `tf.compat.v1.layers` be that of tf_keras, where TensorFlow has Keras 3 and would refuse."""
    original = tf.compat.v1.layers
    tf.compat.v1.layers = _LayersOfTF1(original)
    try:
        yield
    finally:
        tf.compat.v1.layers = original


def _without_advice(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps tf_keras from recommending its own layers, which are not those of Keras 3, in each call."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`tf\.layers\.\w+` is deprecated")
            return function(*args, **kwargs)

    return call


@frozen
class _LayersOfTF1:
    """A module that is imported when it is first used: tf_keras takes seconds, and mox does not depend on it.

    Attributes:
        original: what TensorFlow has in its place. It works where TF_USE_LEGACY_KERAS is set.
    """

    original: Any

    def __getattr__(self, name: str) -> Any:
        """Find a layer.

        Raises:
            UsageError: where tf_keras is not installed.
        """
        with contextlib.suppress(AttributeError):
            return getattr(self.original, name)
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            # Where TensorFlow itself finds them when it uses tf_keras.
            layers = importlib.import_module("tf_keras.api._v1.keras.__internal__.legacy.layers")
        except ModuleNotFoundError as error:
            raise UsageError(
                f"model_fn uses tf.compat.v1.layers.{name}, which TensorFlow has left to tf_keras, and tf_keras is not "
                "installed: pip install tf_keras, or use the layers of Keras 3, keras.layers."
            ) from error
        value = getattr(layers, name)
        return _without_advice(value) if inspect.isfunction(value) else value
