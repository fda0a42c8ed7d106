"""What `training` is in a layer of Keras that `model_fn` calls without saying it: that of the mode.

Under `fit`, `evaluate` and `predict`, Keras tells the model whether it trains, and the model its layers. Called from a
loop of one's own, a model that is told nothing does not train: dropout is off, averages stand still. In `model_fn` the
mode takes the place of `fit` or `evaluate`. Keras has no public setting for it, so `Layer.__call__` is wrapped for a
trace: a call that no other layer makes is given the argument, and Keras passes it on to the layers inside.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define

from mox_core.engine.tf_internals import func_graph, keras_methods

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_TRAINING = "training"


@define
class _Mode:
    """What calls of layers go by.

    Attributes:
        training: whether the mode trains.
        graph: the graph that is being traced.
        warned: whether a warning has been logged.
    """

    training: bool
    graph: tf.Graph
    warned: bool = False


# None in a layer too: what is called there goes by the layer.
_mode: contextvars.ContextVar[_Mode | None] = contextvars.ContextVar("mox_keras_training", default=None)


@contextlib.contextmanager
def watch() -> Iterator[None]:
    """Make calls of layers in the block go by `training_is`, also if Keras is imported there."""
    with keras_methods.wrapped(lambda keras: [(keras.layers.Layer, "__call__", _told_by_mode)]):
        yield


@contextlib.contextmanager
def training_is(training: bool) -> Iterator[None]:  # noqa: FBT001  (the name of the function is that of the argument)
    """Pass `training` to the layers that are called in the block, inside one of `watch`, where the call does not."""
    token = _mode.set(_Mode(training, tf.compat.v1.get_default_graph()))
    try:
        yield
    finally:
        _mode.reset(token)


def _told_by_mode(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def call_layer(layer: Any, *args: Any, **kwargs: Any) -> Any:
        mode = _mode.get()
        if mode is None:
            return call(layer, *args, **kwargs)
        if kwargs.get(_TRAINING) is None and not _is_symbolic(args, kwargs):
            _warn_of_function(mode, layer)
            kwargs[_TRAINING] = mode.training
        token = _mode.set(None)
        try:
            return call(layer, *args, **kwargs)
        finally:
            _mode.reset(token)

    return call_layer


def _is_symbolic(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether the call builds a functional model, which would keep the argument for all modes."""
    kind = sys.modules["keras"].KerasTensor
    return any(isinstance(each, kind) for each in tf.nest.flatten((args, kwargs)))


def _warn_of_function(mode: _Mode, layer: Any) -> None:
    """Warn where TensorFlow may keep the call for another mode, which then would not get here."""
    if mode.warned or not func_graph.is_in_function(tf.compat.v1.get_default_graph(), mode.graph):
        return
    mode.warned = True
    tf.get_logger().warning(
        "the Keras layer %r is called in a tf.function without training=, and is taken to be called with training=%s. "
        "TensorFlow keeps the graph of a function that is made outside of model_fn, also for other modes: "
        "pass training=mode == mox.ModeKeys.TRAIN to the function and to the layer.",
        layer.name,
        mode.training,
    )
