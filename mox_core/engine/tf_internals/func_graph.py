"""TensorFlow's `FuncGraph`, the graph of a function: the class and most of its attributes have no public name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

# What tf.function does to order the operations of its body; `wrap_function` leaves it out.
from tensorflow.python.framework.auto_control_deps import AutomaticControlDependencies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import tensorflow as tf

_RUN_ONCE_GRAPHS: Final = ("CondBranchFuncGraph",)


def automatic_control_dependencies() -> Any:
    """Return a context that orders the stateful operations of the block as eager execution would.

    Its attribute `ops_which_must_run` holds the operations with an effect, its method `mark_as_return` takes each
    result.
    """
    return AutomaticControlDependencies()  # type: ignore[no-untyped-call]


def run_always(graph: Any, operations: Iterable[tf.Operation]) -> None:
    """Make a function run operations in each call, also those that its results do not need."""
    graph.control_outputs.extend(operations)


def wait_for(results: Iterable[tf.Tensor], operations: Iterable[tf.Operation]) -> None:
    """Make results of a function wait for operations, in place of those that they have waited for.

    `automatic_control_dependencies` makes them wait for everything that is stateful.
    """
    operations = list(operations)
    for result in results:
        result.op._remove_all_control_inputs()  # noqa: SLF001  (control inputs have no public setter)
        result.op._add_control_inputs(operations)  # noqa: SLF001


def replace_tensor(old: tf.Tensor, new: tf.Tensor) -> None:
    """Make the operations that take a tensor, as far as the graph has them, take another one in its place."""
    for op in [each for each in old.consumers() if each is not new.op]:
        for place, tensor in enumerate(op.inputs):
            if tensor.name == old.name:
                op._update_input(place, new)  # noqa: SLF001  (inputs have no public setter)


def captures(graph: Any) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Return the tensors from outside that a graph uses, each with the placeholder that stands for it inside."""
    return list(graph.captures) if graph.building_function else []


def function_defs(graph: Any) -> dict[str, Any]:
    """Return the definitions of the functions of a graph by name, without the graph, which may hold large constants."""
    return {name: function.cached_definition for name, function in graph._functions.items()}  # noqa: SLF001  (see above)


def graphs_of_functions(graph: Any) -> dict[str, Any]:
    """Return the graphs of the functions of a graph by name, whose operations know the lines that made them."""
    return {name: function.graph for name, function in graph._functions.items() if function.graph is not None}  # noqa: SLF001


def replace_capture(graph: Any, outer: tf.Tensor, new: tf.Tensor) -> None:
    """Make a graph that is being traced use another tensor from outside in place of one that it uses already."""
    captured = graph._function_captures  # noqa: SLF001  (`captures` only lists them)
    placeholder = captured.by_val_internal[id(outer)]
    captured.add_or_replace(key=id(outer), external=new, internal=placeholder, is_by_ref=False)


def deferred_captures(graph: Any) -> list[tuple[tf.Tensor, Callable[[], tf.Tensor]]]:
    """Return the placeholders whose values TensorFlow computes at each call, with the functions that compute them.

    Keys of collectives are such values. Pruning forgets them.
    """
    return list(zip(graph.deferred_internal_captures, graph.deferred_external_captures, strict=True))


def results(graph: Any) -> Any:
    """Return the tensors that a traced function returns, in the structure in which it returned them."""
    return graph.structured_outputs


def outputs(graph: Any) -> list[tf.Tensor]:
    """Return the tensors that a traced function returns, one after another."""
    return list(graph.outputs)


def variables(graph: Any) -> list[tf.Variable]:
    """Return the variables that a traced function uses."""
    return list(graph.variables)


def watched_variables(graph: Any) -> list[tf.Variable]:
    """Return the variables that a graph has used so far; its captures do not tell which resources are variables."""
    return list(graph._watched_variables)  # noqa: SLF001  (see above)


def enclosing_graph(graph: Any) -> tf.Graph | None:
    """Return the graph around a graph that runs at most once for each run of it: a branch, not the body of a loop."""
    return graph.outer_graph if type(graph).__name__ in _RUN_ONCE_GRAPHS else None


def is_within(graph: Any, outer: tf.Graph) -> bool:
    """Return whether a graph was made while another one was, as a part of it."""
    while graph is not None and graph is not outer:
        graph = getattr(graph, "outer_graph", None)
    return graph is outer
