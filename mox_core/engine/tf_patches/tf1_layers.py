"""`tf.compat.v1.layers` and the layers of slim on TensorFlow with Keras 3."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import sys
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import frozen

from mox_core.engine.tf_internals.at_import import when_imported
from mox_core.engine.tf_internals.expected_warnings import ignore_advice_on_tf1_layers
from mox_core.engine.tf_patches.replaced import replaced
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def slim_layers() -> Iterator[None]:
    """Put what tf_slim is made of at its old places in TensorFlow and tf_keras, also if a run imports it."""
    with contextlib.ExitStack() as stack, when_imported("tf_slim", lambda: _put_in_place(stack)):
        yield


def _put_in_place(stack: contextlib.ExitStack) -> None:
    operations = (
        (importlib.import_module("tensorflow.python.ops.array_ops"), "stack", tf.stack),
        (importlib.import_module("tensorflow.python.ops.control_flow_ops"), "cond", tf.compat.v1.cond),
        (importlib.import_module("tensorflow.python.ops.control_flow_ops"), "case", tf.compat.v1.case),
    )
    stack.enter_context(replaced(*(each for each in operations if each[1] not in vars(each[0]))))
    if not importlib.util.find_spec("tf_keras"):
        return
    layers = importlib.import_module("tf_keras.src.legacy_tf_layers")
    # With its parent alone, Python would load it once more, from the same file.
    normalization = importlib.import_module("tf_keras.src.legacy_tf_layers.normalization")
    attributes = (
        (importlib.import_module("tensorflow.python.framework.ops"), "Tensor", tf.Tensor),
        (importlib.import_module("tf_keras"), "legacy_tf_layers", layers),
    )
    modules = {"tf_keras.legacy_tf_layers": layers, "tf_keras.legacy_tf_layers.normalization": normalization}
    stack.enter_context(replaced(*(each for each in attributes if each[1] not in vars(each[0]))))
    for name, module in modules.items():
        if name not in sys.modules:
            sys.modules[name] = module
            stack.callback(sys.modules.pop, name, None)


@contextlib.contextmanager
def tf1_layers() -> Iterator[None]:
    """Make `tf.compat.v1.layers` that of tf_keras for the block, as TensorFlow with Keras 3 has none."""
    with replaced((tf.compat.v1, "layers", _LayersOfTF1(tf.compat.v1.layers))):
        yield


def _without_advice(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a layer function that does not warn in each call."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with ignore_advice_on_tf1_layers():
            return function(*args, **kwargs)

    return call


@frozen
class _LayersOfTF1:
    """A module that is imported when it is first used: tf_keras takes seconds, and mox does not depend on it.

    Attributes:
        original: TensorFlow's own module. It works where TF_USE_LEGACY_KERAS is set.
    """

    original: Any

    def __getattr__(self, name: str) -> Any:
        """Find a layer.

        Raises:
            UsageError: if tf_keras is not installed.
        """
        with contextlib.suppress(AttributeError):
            return getattr(self.original, name)
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            # The module in which TensorFlow itself finds them when it uses tf_keras.
            layers = importlib.import_module("tf_keras.api._v1.keras.__internal__.legacy.layers")
        except ModuleNotFoundError as error:
            raise UsageError(
                f"model_fn uses tf.compat.v1.layers.{name}, which TensorFlow has left to tf_keras, and tf_keras is not "
                "installed: pip install tf_keras, or use the layers of Keras 3, keras.layers."
            ) from error
        value = getattr(layers, name)
        return _without_advice(value) if inspect.isfunction(value) else value
