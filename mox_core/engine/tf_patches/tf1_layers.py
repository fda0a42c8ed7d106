"""`tf.compat.v1.layers` and the layers of slim on TensorFlow with Keras 3."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import sys
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from tensorflow.python.util.lazy_loader import KerasLazyLoader

from mox_core.engine.tf_internals.at_import import when_imported
from mox_core.engine.tf_internals.expected_warnings import ignore_advice_on_tf1_layers
from mox_core.engine.tf_patches.replaced import replaced
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LAYERS: Final = "__internal__.legacy.layers"
"""The module of the layers of TF1, by its name in Keras 2."""


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
        (importlib.import_module("tensorflow.python.framework.ops"), "IndexedSlices", tf.IndexedSlices),
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
    """Make `tf.compat.v1.layers` that of tf_keras for the block, as TensorFlow with Keras 3 has none.

    TensorFlow has several module objects for `tf.compat.v1`, and scripts keep whichever they have imported. The lazy
    modules that stand for the layers in all of them are of one class.
    """
    with replaced((KerasLazyLoader, "__getattr__", _with_layers_of_tf1(KerasLazyLoader.__getattr__))):
        yield


def _without_advice(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a layer function that does not warn in each call."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with ignore_advice_on_tf1_layers():
            return function(*args, **kwargs)

    return call


def _with_layers_of_tf1(original: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """Return how a lazy module finds a name, with the layers of TF1 in the module that has none.

    They are imported when they are first used: tf_keras takes seconds, and mox does not depend on it.
    """

    @functools.wraps(original)
    def find(module: Any, name: str) -> Any:
        try:
            return original(module, name)  # it works where TF_USE_LEGACY_KERAS is set
        except AttributeError:
            if vars(module).get("_tfll_submodule") != _LAYERS or name.startswith("__"):
                raise
        return _layer(name)

    return find


def _layer(name: str) -> Any:
    """Find a layer of TF1.

    Raises:
        UsageError: if tf_keras is not installed.
    """
    try:
        # The module in which TensorFlow itself finds them when it uses tf_keras.
        layers = importlib.import_module(f"tf_keras.api._v1.keras.{_LAYERS}")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"model_fn uses tf.compat.v1.layers.{name}, which TensorFlow has left to tf_keras, and tf_keras is not "
            "installed: pip install tf_keras, or use the layers of Keras 3, keras.layers."
        ) from error
    value = getattr(layers, name)
    return _without_advice(value) if inspect.isfunction(value) else value
