"""`tf.compat.v1.layers` and the layers of slim on TensorFlow with Keras 3."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import sys
import warnings
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import frozen

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def slim_layers() -> Iterator[None]:
    """Put what `tf_slim.batch_norm` is made of at its old places in TensorFlow and tf_keras, where both are in use."""
    if "tf_slim" not in sys.modules or not importlib.util.find_spec("tf_keras"):
        yield
        return
    layers = importlib.import_module("tf_keras.src.legacy_tf_layers")
    places: tuple[tuple[dict[str, Any], str, Any], ...] = (
        (sys.modules, "tf_keras.legacy_tf_layers", layers),
        (vars(importlib.import_module("tensorflow.python.framework.ops")), "Tensor", tf.Tensor),
        (vars(importlib.import_module("tf_keras")), "legacy_tf_layers", layers),
    )
    with contextlib.ExitStack() as stack:
        for namespace, name, value in places:
            if name not in namespace:
                namespace[name] = value
                stack.callback(namespace.pop, name, None)
        yield


@contextlib.contextmanager
def tf1_layers() -> Iterator[None]:
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
