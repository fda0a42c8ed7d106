"""Functions of TensorFlow that `model_fn` calls: each call of `model_fn` has graphs of its own of them.

TensorFlow keeps the graph of a `tf.function`, and in it what held when it was traced: whether Keras trains, the seeds
of random numbers, which replica it was. One that was called before the run, in another mode or by another replica would
go on with that. So a call of `model_fn` gets a copy of each function, which is traced anew. Where there is a graph and
no function, a warning tells of it.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field
from tensorflow.python.eager.polymorphic_function.concrete_function import ConcreteFunction

from mox_core.engine.tf_internals import func_graph, keras_training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KEPT: Final = (
    "model_fn calls a graph that was traced outside of it (%s): dropout and batch normalization in it do what they did "
    "there, which is not that of a training, as far as can be seen. Call the tf.function itself, which is traced anew "
    "in each mode, or trace it with training=True."
)
_NORM: Final = "FusedBatchNorm"
_DRAWS: Final = "Random"


@define
class _Call:
    """A call of `model_fn`.

    Attributes:
        training: whether its mode trains.
        graph: the graph that it is traced in.
        copies: the functions that it has called by what their graphs depend on, which is kept, each with its copy.
        warned: whether a warning has been logged.
    """

    training: bool
    graph: tf.Graph
    copies: dict[tuple[int, ...], tuple[Any, ...]] = field(factory=dict)
    warned: bool = False

    def copy_of(self, function: Any) -> Any:
        """Return the copy of a function; the function itself where it is a copy, or was loaded and has only graphs."""
        if hasattr(function, "concrete_functions") or any(function is copy for *_, copy in self.copies.values()):
            return function
        # Keras traces the function in a scratch graph too, to build a layer, and tells layers `training` by a context.
        graph, told = tf.compat.v1.get_default_graph(), keras_training.told()
        key = id(function), id(graph), told if isinstance(told, bool) else id(told)
        if key not in self.copies:
            self.copies[key] = function, graph, told, function._clone(None)  # noqa: SLF001  (see above)
        return self.copies[key][-1]

    def warn_of_graph(self, function: Any) -> None:
        """Warn of a graph that is trained, and was not made for a training."""
        if self.warned or not self.training or func_graph.is_within(function.graph, self.graph):
            return
        if function.trainable_variables and not _is_of_training(function.graph):
            self.warned = True
            tf.get_logger().warning(_KEPT, tf.compat.as_str(function.name))


_call: contextvars.ContextVar[_Call | None] = contextvars.ContextVar("mox_traced_functions", default=None)


@contextlib.contextmanager
def watch() -> Iterator[None]:
    """Make functions that are called in the block go by `traced_anew`."""
    function = type(tf.function(lambda: None))
    with contextlib.ExitStack() as stack:
        for kind, name, wrapper in (
            (function, "__call__", _copied),
            (function, "get_concrete_function", _copied),
            (ConcreteFunction, "__call__", _asked),
        ):
            original = vars(kind)[name]
            stack.callback(setattr, kind, name, original)
            setattr(kind, name, wrapper(original))
        yield


@contextlib.contextmanager
def traced_anew(*, training: bool) -> Iterator[None]:
    """Trace the functions that are called in the block anew, inside one of `watch`.

    Args:
        training: whether the mode trains.
    """
    token = _call.set(_Call(training, tf.compat.v1.get_default_graph()))
    try:
        yield
    finally:
        _call.reset(token)


def _copied(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def method(function: Any, *args: Any, **kwargs: Any) -> Any:
        call = _call.get()
        return original(function if call is None else call.copy_of(function), *args, **kwargs)

    return method


def _asked(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def method(function: Any, *args: Any, **kwargs: Any) -> Any:
        call = _call.get()
        if call is not None:
            call.warn_of_graph(function)
        return original(function, *args, **kwargs)

    return method


def _is_of_training(graph: Any) -> bool:
    """Whether a graph does what only a training does: draw random numbers, or normalize by the batch."""
    nodes = [op.node_def for op in graph.get_operations() if op.type != "Const"]
    nodes += [node for function in func_graph.function_defs(graph).values() for node in function.node_def]
    return any(_DRAWS in node.op or (node.op.startswith(_NORM) and node.attr["is_training"].b) for node in nodes)
