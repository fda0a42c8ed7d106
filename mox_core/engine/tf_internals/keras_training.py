"""What `training` is in a layer of Keras that `model_fn` calls without saying it: that of the mode.

Under `fit`, `evaluate` and `predict`, Keras tells the model whether it trains, and the model its layers. Called from a
loop of one's own, a model that is told nothing does not train: dropout is off, averages stand still. In `model_fn` the
mode takes the place of `fit` or `evaluate`. Keras has no public setting for it, so `Layer.__call__` is wrapped for a
trace: a call that no other layer makes is given the argument, and Keras passes it on to the layers inside. tf_keras,
the Keras 2 beside it, does all of this in the same way.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.engine.tf_internals import keras_methods
from mox_core.engine.tf_internals.keras_two import is_of_tf1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_TRAINING: Final = "training"
_SYMBOLIC: Final = "KerasTensor"

# None in a layer too: what is called there goes by the layer.
_training: contextvars.ContextVar[bool | None] = contextvars.ContextVar("mox_keras_training", default=None)
_told: contextvars.ContextVar[Any] = contextvars.ContextVar("mox_keras_told", default=None)


@contextlib.contextmanager
def watch() -> Iterator[None]:
    """Make calls of layers in the block go by `training_is`, also if Keras is imported there."""

    def calls(keras: Any) -> list[keras_methods.Wrapped]:
        return [(keras.layers.Layer, "__call__", _told_by_mode)]

    with keras_methods.wrapped(calls), keras_methods.wrapped(calls, module="tf_keras"):
        yield


@contextlib.contextmanager
def training_is(training: bool) -> Iterator[None]:  # noqa: FBT001  (the name of the function is that of the argument)
    """Pass `training` to the layers that are called in the block, inside one of `watch`, where the call does not."""
    token = _training.set(training)
    try:
        yield
    finally:
        _training.reset(token)


def told() -> Any:
    """Return what the layer that is being called was told; None outside of layers, and where it is not known."""
    return _told.get()


def _told_by_mode(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def call_layer(layer: Any, *args: Any, **kwargs: Any) -> Any:
        training = _training.get()
        silent = kwargs.get(_TRAINING) is None
        if silent and training is not None and not _is_symbolic(args, kwargs) and not is_of_tf1(type(layer)):
            kwargs[_TRAINING] = training
        tokens = _training.set(None), _told.set(_told.get() if kwargs.get(_TRAINING) is None else kwargs[_TRAINING])
        try:
            return call(layer, *args, **kwargs)
        finally:
            _training.reset(tokens[0])
            _told.reset(tokens[1])

    return call_layer


def _is_symbolic(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether the call builds a functional model, which would keep the argument for all modes."""
    return any(type(each).__name__.endswith(_SYMBOLIC) for each in tf.nest.flatten((args, kwargs)))
