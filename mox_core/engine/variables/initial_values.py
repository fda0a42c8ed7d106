"""Initial values of variables that are given as tensors of a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.tensors import ancestors
from mox_core.engine.tf_internals import func_graph
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def evaluate_initial_value(value: tf.Tensor, name: str, graph: tf.Graph, constants: Mapping[str, Any]) -> Any:
    """Compute an initial value that was given as a tensor of the trace, which TensorFlow cannot lift out by itself.

    Args:
        value: tensor of the trace.
        name: name of the variable, for the error.
        graph: graph of the trace.
        constants: values of inputs of the graph by the name of their operation.

    Raises:
        UsageError: if it is computed from input data.
    """
    static = tf.get_static_value(value)
    if static is not None:
        return static
    # What the trace captures is there already: variables that were made before, for instance.
    known = {**constants} | {inner.op.name: outer for outer, inner in func_graph.captures(graph)}
    ops = ancestors([value])
    if fed := next((op.name for op in ops if op.type == "Placeholder" and op.name not in known), None):
        raise UsageError(
            f"the initial value of variable {name!r} is computed from input data ({fed!r}), which is not there "
            "when variables are made. Compute it from constants, or pass an initializer."
        )
    compute = cut_out(graph, [value], ops, known)
    with tf.init_scope():
        return compute()[0].numpy()


def cut_out(
    graph: tf.Graph, values: Sequence[tf.Tensor], ops: Sequence[tf.Operation], known: Mapping[str, Any]
) -> Callable[[], list[tf.Tensor]]:
    """Return a function, outside of the trace, that computes tensors of it.

    Args:
        graph: graph of the trace.
        values: the tensors.
        ops: the operations that they are computed by; dependencies on others are dropped.
        known: values of placeholders by the name of their operation.
    """
    present = {op.name for op in ops}
    graph_def = tf.compat.v1.GraphDef()
    graph_def.CopyFrom(graph.as_graph_def())
    del graph_def.node[:]
    graph_def.node.extend(op.node_def for op in ops)
    for node in graph_def.node:
        kept = [each for each in node.input if not each.startswith("^") or each[1:] in present]
        del node.input[:]
        node.input.extend(kept)
    inputs = {f"{each}:0": there for each, there in known.items() if each in present}

    def body() -> list[tf.Tensor]:
        mapped = {name: tf.convert_to_tensor(there) for name, there in inputs.items()}
        return list(tf.graph_util.import_graph_def(graph_def, mapped, [each.name for each in values], name=""))

    with tf.init_scope():
        return tf.compat.v1.wrap_function(body, [])
