"""Methods of TensorFlow and Keras that read or restore variables at once, called while a graph is built.

In `model_fn` they mean the values with which a model begins. So `get_weights` and `tf.train.Checkpoint` work outside of
the graph there; a checkpoint of the run has the last word, as over all initial values. What would give the value of a
step, or needs a session, is refused.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from tensorflow.python.distribute.values import DistributedVariable
from tensorflow.python.ops.resource_variable_ops import BaseResourceVariable

from mox_core.engine.tensors import ancestors
from mox_core.engine.tf_internals import func_graph, keras_methods, keras_owners
from mox_core.engine.tf_patches.replaced import replaced
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_CHANGING: Final = frozenset({"Placeholder", "ReadVariableOp"})
_NUMPY: Final = (
    "{name!r} has no value yet where a graph is built: numpy() would be that of no step. Compute with the variable "
    "itself, or read the value with which it begins under `with tf.init_scope():`."
)
_NO_SESSION: Final = (
    "{what} in model_fn needs a session, and there is none: mox.run(checkpoint_path=...) begins with the weights of a "
    "checkpoint; tf.compat.v1.train.init_from_checkpoint names variables, and variable.assign(array) gives one a value."
)
_ASSIGNED: Final = (
    "get_weights() in model_fn would give {name!r} the value from before an assignment that model_fn has made, which "
    "is done when the graph is complete: assign the values themselves to both, or by layer.set_weights(...)."
)


@contextlib.contextmanager
def eager_values() -> Iterator[None]:
    """Make eager methods work on initial values for the block, or say what to write; they are as ever where all is."""
    checkpoints = [
        (kind, name, _outside(vars(kind)[name]))
        for kind in (tf.train.Checkpoint, tf.compat.v1.train.Checkpoint)
        for name in ("read", "restore")
        if name in vars(kind)
    ]
    saver: Any = tf.compat.v1.train.Saver
    variable: Any = tf.Variable  # the stubs of TensorFlow do not know the method
    with (
        replaced(
            *checkpoints,
            *((kind, "numpy", _numpy(kind.numpy)) for kind in (BaseResourceVariable, DistributedVariable)),
            (variable, "load", _load(variable.load)),
            (saver, "restore", _restore(saver.restore)),
        ),
        keras_methods.wrapped(_of_keras),
    ):
        yield


def _of_keras(keras: Any) -> Sequence[keras_methods.Wrapped]:
    return ((keras.layers.Layer, "get_weights", _get_weights),)


def _outside(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not tf.executing_eagerly():
            keras_owners.give_now()
        with tf.init_scope():
            return original(*args, **kwargs)

    return call


def _get_weights(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def get_weights(layer: Any) -> Any:
        if tf.executing_eagerly():
            return original(layer)
        for each in layer.weights:
            _check_unassigned(each)
        return [keras_owners.initial_value(each) for each in layer.weights]

    return get_weights


def _check_unassigned(variable: Any) -> None:
    """Refuse a variable that the graph assigns a constant, which is done when the graph is complete.

    Raises:
        UsageError: with its name.
    """
    graph, handle = tf.compat.v1.get_default_graph(), variable.value.handle
    uses = [use for outer, inner in func_graph.captures(graph) if outer is handle for use in inner.consumers()]
    for use in uses:
        if use.type == "AssignVariableOp" and all(op.type not in _CHANGING for op in ancestors([use.inputs[1]])):
            raise UsageError(_ASSIGNED.format(name=str(variable.path)))


def _numpy(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def numpy(variable: Any) -> Any:
        if tf.executing_eagerly():
            return original(variable)
        raise UsageError(_NUMPY.format(name=variable.name.partition(":")[0]))

    return numpy


def _load(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load(variable: Any, value: Any, session: Any = None) -> Any:
        _check_session("Variable.load", session)
        return original(variable, value, session)

    return load


def _restore(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def restore(saver: Any, sess: Any, save_path: Any) -> Any:
        _check_session("Saver.restore", sess)
        return original(saver, sess, save_path)

    return restore


def _check_session(what: str, session: Any) -> None:
    if session is None and not tf.executing_eagerly() and tf.compat.v1.get_default_session() is None:
        raise UsageError(_NO_SESSION.format(what=what))
