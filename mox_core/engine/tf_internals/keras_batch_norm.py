"""Batch normalization of Keras and tf_keras that stands still where nothing of the layer is trained.

Keras has a rule for that, `layer.trainable = False`, which has to be set before the layer is called; what the flags of
a run leave out is known by the names of its variables, once the layer has made them. So `call` is wrapped for a trace:
by then the layer is built. That of tf_keras is also the one of `tf.compat.v1.layers.batch_normalization`.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mox_core.engine.tf_internals import keras_methods

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

IsFrozen: TypeAlias = Callable[["Sequence[str]", "Sequence[str]"], bool]
"""Whether a layer stands still, by the names of its parameters and of its moving averages."""

_PARAMETERS: Final = ("gamma", "beta")
_AVERAGES: Final = ("moving_mean", "moving_variance")

_is_frozen: contextvars.ContextVar[IsFrozen | None] = contextvars.ContextVar("mox_frozen_batch_norm", default=None)


@contextlib.contextmanager
def watch() -> Iterator[None]:
    """Make layers that are called in the block go by `frozen`, also if Keras is imported there."""
    with keras_methods.wrapped(_calls), keras_methods.wrapped(_calls, module="tf_keras"):
        yield


@contextlib.contextmanager
def frozen(is_frozen: IsFrozen | None) -> Iterator[None]:
    """Call the layers that are frozen, in the block and inside one of `watch`, as when nothing is trained.

    Args:
        is_frozen: tells which are; None for none.
    """
    token = _is_frozen.set(is_frozen)
    try:
        yield
    finally:
        _is_frozen.reset(token)


def _calls(keras: Any) -> list[keras_methods.Wrapped]:
    # In tf_keras, the base of its layer and of those of TF1.
    kind = next(each for each in keras.layers.BatchNormalization.__mro__ if "call" in vars(each))
    return [(kind, "call", _without_training)]


def _without_training(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def of_layer(layer: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        is_frozen = _is_frozen.get()
        if is_frozen is not None and is_frozen(_names(layer, _PARAMETERS), _names(layer, _AVERAGES)):
            if args:
                args = (False, *args[1:])
            else:
                kwargs["training"] = False
        return call(layer, inputs, *args, **kwargs)

    return of_layer


def _names(layer: Any, attributes: Sequence[str]) -> list[str]:
    """Return the names by which the run knows the variables of a layer."""
    variables = [getattr(layer, name, None) for name in attributes]
    return [_name(each) for each in variables if each is not None]


def _name(variable: Any) -> str:
    of_tensorflow = getattr(variable, "_value", variable)  # `value` of a Keras variable may be cast, to a tensor
    name = getattr(of_tensorflow, "_mox_name", None)  # of the store; a layer from outside may have none yet
    return str(name or getattr(variable, "path", None) or of_tensorflow.name.partition(":")[0])
