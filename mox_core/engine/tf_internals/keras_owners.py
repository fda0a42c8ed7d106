"""What Keras knows of TensorFlow's variables: their paths, the layers and metrics that own them, what is not trained.

While a trace lasts, `watch` wraps the methods in which Keras makes variables, and `new_variable` returns what they are
making when TensorFlow is asked for a variable. For two things Keras has no such method:

- The layer whose constructor, or other method of its own, makes a variable without `add_weight`: a `keras.Variable`,
  the state of a seed generator or of a metric. Python has no hook around the constructors of subclasses, and Keras
  opens no scope in them. For these alone, `new_variable` looks for the layer among the callers. It decides no name by
  itself, only whether a second variable of the same name belongs to another layer.
- What was made before the trace (`survey`). A variable of TensorFlow has no reference to that of Keras, this one
  none to its layer, and a layer none to the layer around it. But paths and flags depend on all of them: a layer names
  its seed generators, and one with `trainable=False` keeps what it holds from being trained, also where `model_fn`
  calls a part or another method of it. Watching which layers are called and which variables are read would miss that
  without a word. So all objects of Keras in the process are scanned (`gc`).
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import gc
import sys
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from attrs import frozen

from mox_core.engine.tf_internals import keras_methods, keras_names
from mox_core.engine.tf_internals.variables import local_parts, parts_of
from mox_core.user_code import user_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_INITIALIZE = "_initialize"
"""The method in which a variable of Keras makes that of TensorFlow."""

_VALUE = "_value"
"""The attribute of a variable of Keras that holds that of TensorFlow."""

_making: contextvars.ContextVar[Any] = contextvars.ContextVar("mox_keras_variable", default=None)
_asking: contextvars.ContextVar[Any] = contextvars.ContextVar("mox_keras_owner", default=None)
# Owners by the `id` of the variable, with the variable, so that no other one gets its `id`. Each trace has its own.
_owners: contextvars.ContextVar[dict[int, tuple[Any, Any]] | None] = contextvars.ContextVar(
    "mox_keras_owners", default=None
)

_given: contextvars.ContextVar[tuple[Any, list[GivenValue]]] = contextvars.ContextVar(
    "mox_given_values", default=(None, [])
)


@frozen
class GivenValue:
    """A value that is no tensor of the trace, assigned to a variable of Keras: weights that are loaded, for instance.

    Attributes:
        variable: TensorFlow's variable.
        value: the value, an array or what NumPy makes one of.
        place: the line of the user's code, 'file:line'.
    """

    variable: Any
    value: Any
    place: str


@frozen
class NewVariable:
    """A variable that Keras is making.

    Attributes:
        path: Keras's path of it.
        layer: the layer that makes it, None where none does. Where Keras has put that off, as in a subclassed model, it
            is the layer that is being called or built.
        metric: the metric whose state it is, None of a weight.
    """

    path: str
    layer: Any
    metric: Any


@frozen
class Survey:
    """What Keras knows of TensorFlow's variables, by their `id`.

    Attributes:
        paths: Keras's path; that of its layer for the state of a seed generator.
        fixed: the variables that Keras does not train, because of their own flag or that of a layer.
        of_metrics: the variables that are the state of a metric.
        constraints: the constraints of variables that have one.
        parts: Keras's path for the parts of a variable that was made under a strategy, one on each device.
    """

    paths: dict[int, str]
    fixed: frozenset[int]
    of_metrics: frozenset[int]
    constraints: dict[int, Callable[[Any], Any]]
    parts: dict[int, str]


@contextlib.contextmanager
def watch() -> Iterator[None]:
    """Record for `new_variable` what Keras makes in the block, also if it is imported there."""
    token = _owners.set({})
    try:
        with keras_methods.wrapped(_watched):
            yield
    finally:
        _owners.reset(token)


def _watched(keras: Any) -> Sequence[keras_methods.Wrapped]:
    return (
        (keras.Variable, _INITIALIZE, _noting_variable),
        (keras.Variable, "assign", _noting_value),
        (keras.layers.Layer, "add_weight", _noting_owner),
        (keras.metrics.Metric, "add_variable", _noting_owner),
    )


def _noting_variable(initialize: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(initialize)
    def call(variable: Any, *args: Any, **kwargs: Any) -> None:
        token = _making.set(variable)
        try:
            initialize(variable, *args, **kwargs)
        finally:
            _making.reset(token)

    return call


def _noting_owner(add: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(add)
    def call(owner: Any, *args: Any, **kwargs: Any) -> Any:
        token = _asking.set(owner)
        try:
            variable = add(owner, *args, **kwargs)
        finally:
            _asking.reset(token)
        owners = _owners.get()
        if owners is not None:
            owners[id(variable)] = variable, owner
        return variable

    return call


@contextlib.contextmanager
def given_values(graph: tf.Graph) -> Iterator[list[GivenValue]]:
    """Record the values that Keras assigns in a graph and that are known already, and make no operation of them.

    They would be constants of the graph, as large as the weights of a model, assigned again in each step.
    """
    given: list[GivenValue] = []
    token = _given.set((graph, given))
    try:
        yield given
    finally:
        _given.reset(token)


def _noting_value(assign: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(assign)
    def call(variable: Any, value: Any) -> Any:
        graph, given = _given.get()
        _, owner = (_owners.get() or {}).get(id(variable), (None, None))
        known = not isinstance(value, (tf.Variable, sys.modules["keras"].Variable)) and not tf.is_symbolic_tensor(value)
        if (
            tf.compat.v1.get_default_graph() is not graph
            or isinstance(owner, sys.modules["keras"].metrics.Metric)  # that is a new count, in each step
            or not known
            or tuple(np.shape(value)) != tuple(variable.shape)
        ):
            return assign(variable, value)
        given.append(GivenValue(getattr(variable, _VALUE), value, user_line(traceback.extract_stack())))
        return value

    return call


def give_now() -> None:
    """Assign what has been given in this trace so far, before something else restores the same variables."""
    _, given = _given.get()
    with tf.init_scope():
        for each in given:
            for part in local_parts(each.variable):
                part.assign(tf.cast(each.value, part.dtype))
    given.clear()


def initial_value(variable: Any) -> Any:
    """Return the value with which a variable of Keras begins, as an array.

    That is what it has been given in this trace, or what it holds.
    """
    own = getattr(variable, _VALUE)
    _, given = _given.get()
    for each in reversed(given):
        if each.variable is own:
            return np.array(each.value, own.dtype.as_numpy_dtype)
    with tf.init_scope():
        return local_parts(own)[0].numpy()


def new_variable() -> NewVariable | None:
    """Return what Keras is making when it asks TensorFlow for a variable just now, None where Keras does not ask."""
    variable = _making.get()
    if variable is None:
        return None
    keras: Any = sys.modules["keras"]
    # Where Keras puts making it off, the owner has asked long ago.
    _, late = (_owners.get() or {}).get(id(variable), (None, None))
    asking = _asking.get()
    owner = asking if late is None else late
    if not isinstance(owner, keras.layers.Layer):
        metric = owner if isinstance(owner, keras.metrics.Metric) else None
        return NewVariable(str(variable.path), _calling_layer(keras.layers.Layer), metric)
    layer = asking if late is None else _scoped_layer(keras.layers.Layer)
    return NewVariable(str(variable.path), layer, None)


def _scoped_layer(kind: type) -> Any:
    """Return the layer whose name scope is the innermost."""
    callers = (scope.caller for scope in reversed(keras_names.scopes()))
    return next((caller for caller in callers if isinstance(caller, kind)), None)


def _calling_layer(kind: type) -> Any:
    """Return the layer of which a method is running, the innermost."""
    frame: Any = sys._getframe(1)  # noqa: SLF001  (nothing tells which constructors are running)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, kind):
            return owner
        frame = frame.f_back
    return None


def survey() -> Survey:
    """Look through the process for the variables, layers and metrics of Keras."""
    keras = sys.modules.get("keras")
    if keras is None:
        return Survey({}, frozenset(), frozenset(), {}, {})
    variables, layers, metrics = _objects(keras.Variable, keras.layers.Layer, keras.metrics.Metric)
    paths = {_id(each): str(each.path) for each in variables}
    # Their own paths are numbered by the process, and no user can name them.
    states = [
        (f"{getattr(layer, 'path', None) or layer.name}/{value.state.name}", _id(value.state))
        for layer in layers
        for value in list(vars(layer).values())
        if isinstance(value, keras.random.SeedGenerator)
    ]
    paths |= {key: path for path, key in sorted(states, reverse=True)}
    fixed = [each for layer in layers if not getattr(layer, "trainable", True) for each in layer.variables]
    fixed += [each for each in variables if not each.trainable]
    of_metrics = [each for metric in metrics for each in getattr(metric, "variables", ())]
    constraints = {_id(each): each.constraint for each in variables if each.constraint is not None}
    parts = {id(part): str(each.path) for each in variables for part in parts_of(getattr(each, _VALUE, None))}
    return Survey(paths, frozenset(map(_id, fixed)), frozenset(map(_id, of_metrics)), constraints, parts)


def places() -> dict[int, int]:
    """Return the places of TensorFlow's variables, by their `id`, among those of the layers of Keras that have them."""
    keras = sys.modules.get("keras")
    if keras is None:
        return {}
    found: dict[int, int] = {}
    (layers,) = _objects(keras.layers.Layer)
    for layer in layers:
        for place, variable in enumerate(getattr(layer, "variables", ())):  # its constructor may have failed
            found[_id(variable)] = min(place, found.get(_id(variable), place))  # a layer has its own first
    return found


def _objects(*kinds: type) -> list[list[Any]]:
    """Return the objects of the process that are of each kind."""
    objects = [each for each in gc.get_objects() if issubclass(type(each), kinds)]
    return [[each for each in objects if isinstance(each, kind)] for kind in kinds]


def _id(variable: Any) -> int:
    # `value` may be a cast of it; where making it has failed there is none.
    return id(getattr(variable, _VALUE, None))
