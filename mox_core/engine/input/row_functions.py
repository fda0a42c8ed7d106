"""Functions of one sample as functions of many, where each row of their result is what they make of one sample.

TensorFlow turns a function of one sample into one of many (`tf.vectorized_map`). That is done where every operation is
known to give the same bits for a sample alone and among others, wherever it stands among them: operations that move
values, compare them or round once. A sum or an exponential may round otherwise in another place of a vector: then the
samples of a resumed run, whose places differ, would not be the same. (Nothing is known of the sign of a zero.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import tensorflow as tf

from mox_core.engine.tensors import ancestors
from mox_core.engine.tf_internals import func_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MOVE: Final = frozenset(
    {"BroadcastTo", "ConcatV2", "Const", "EnsureShape", "ExpandDims", "Fill", "GatherV2", "Identity", "NoOp", "OneHot",
     "OnesLike", "Pack", "Reshape", "Slice", "Squeeze", "StopGradient", "StridedSlice", "Tile", "Transpose",
     "ZerosLike"}
)  # fmt: skip
_COMPARE: Final = frozenset(
    {"Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr", "Maximum",
     "Minimum", "NotEqual", "SelectV2"}
)  # fmt: skip
_ROUND_ONCE: Final = frozenset(
    {"Abs", "Add", "AddV2", "Ceil", "Floor", "FloorDiv", "FloorMod", "Mul", "Neg", "RealDiv", "Rint", "Round", "Square",
     "Sub"}
)  # fmt: skip
_EXAMPLE: Final = "ParseExampleV2"
_WITH_PLACES: Final = {
    "BroadcastTo": [1], "ConcatV2": [-1], "ExpandDims": [1], "Fill": [0], "GatherV2": [2], "OneHot": [1, 2, 3],
    "Reshape": [1], "Slice": [1, 2], "StridedSlice": [1, 2, 3], "Tile": [1], "Transpose": [1]
}  # fmt: skip
"""Operations by the inputs that are places, sizes or axes: TensorFlow knows no rows of those."""
_CAST_ALIKE: Final = frozenset({tf.int32, tf.int64, tf.uint64})
"""Integers to which floats beyond their range are cast alike wherever they stand in a vector."""


def on_rows(function: Callable[..., Any], specs: Iterable[tf.TensorSpec]) -> Callable[..., Any] | None:
    """Return a function that does to rows what a function does to one sample.

    Args:
        function: function of the tensors of a sample that returns tensors, in any structure.
        specs: the specs of the tensors of a sample.

    Returns:
        Function of tensors with one dimension more, the first; None where that is not known to be the same.
    """
    specs = list(specs)
    graph = tf.function(function, autograph=False).get_concrete_function(*specs).graph
    if any(op.op_def.is_stateful and not _is_placeholder(op) for op in graph.get_operations()):
        return None
    return rows_of(function, specs) if all_by_rows(func_graph.outputs(graph)) else None


def all_by_rows(outputs: list[tf.Tensor], given: Iterable[tf.Tensor] = ()) -> bool:
    """Whether tensors of one graph have known shapes, not empty, and are made of given ones by operations on rows.

    Args:
        outputs: the tensors.
        given: the tensors of a sample; placeholders of the graph where none are.
    """
    if not outputs or not all(tensor.shape.num_elements() for tensor in outputs):
        return False
    return all(_is_by_rows(op) for op in ancestors(outputs, given=given))


def rows_of(function: Callable[..., Any], specs: Iterable[tf.TensorSpec]) -> Callable[..., Any] | None:
    """Return the function of many samples, for a function whose operations work on rows.

    Args:
        function: see `on_rows`.
        specs: see `on_rows`.

    Returns:
        None where TensorFlow does not know how: an operation whose constant comes from the sample, say.
    """

    def one(sample: tuple[tf.Tensor, ...]) -> Any:
        return tf.nest.map_structure(tf.identity, function(*sample))  # also what the function gives on as it is

    def rows(*tensors: tf.Tensor) -> Any:
        made = tf.vectorized_map(one, tensors, fallback_to_while_loop=False)
        for tensor in tensors:
            _take_uncopied(tensor)
        return made

    of_many = [tf.TensorSpec([None, *spec.shape], spec.dtype) for spec in specs]
    try:
        made = tf.compat.v1.wrap_function(rows, of_many)
    except (NotImplementedError, TypeError, ValueError):  # what vectorized_map raises for operations that it lacks
        return None
    # Without what the loop has left in the graph: tf.data looks at each operation each time that it maps a pack.
    return cast("Callable[..., Any]", made.prune(made.inputs[: len(of_many)], made.structured_outputs))


def _take_uncopied(rows: tf.Tensor) -> None:
    """Make what is computed of rows take them as they are: `vectorized_map` gathers them, which copies all of them."""
    for op in rows.consumers():
        if op.type == "GatherV2" and op.outputs[0].shape.rank == rows.shape.rank:
            func_graph.replace_tensor(op.outputs[0], rows)


def _is_by_rows(op: tf.Operation) -> bool:
    if op.type == _EXAMPLE:
        shapes = op.get_attr("dense_shapes")
        varying = op.get_attr("num_sparse") or op.get_attr("ragged_value_types")
        return not varying and all(tf.TensorShape(shape).is_fully_defined() for shape in shapes)
    if op.type == "Cast":
        source, target = op.inputs[0].dtype, op.outputs[0].dtype
        return not (source.is_floating and target.is_integer) or target in _CAST_ALIKE
    if op.type == "Squeeze" and not op.get_attr("squeeze_dims"):
        return False  # of a single row it would drop the dimension of the rows
    places = (op.inputs[number] for number in _WITH_PLACES.get(op.type, ()))
    is_known = all(tf.get_static_value(place) is not None for place in places)
    return (op.type in _MOVE | _COMPARE | _ROUND_ONCE and is_known) or _is_placeholder(op)


def _is_placeholder(op: tf.Operation) -> bool:
    return bool(op.type == "Placeholder")
