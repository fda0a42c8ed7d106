"""Names of TensorFlow with the types that its stubs leave out, and what is made of specs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable

    Dataset: TypeAlias = tf.data.Dataset[Any]

Function = TypeVar("Function", bound="Callable[..., Any]")


def no_autograph(function: Function) -> Function:
    """Keeps tf.data from rewriting a function: graph code needs no AutoGraph, and it warns where it cannot parse."""
    return cast("Function", tf.autograph.experimental.do_not_convert(function))


def features_of(dataset: Dataset) -> Any:
    """Returns the specs of what a dataset gives behind the position."""
    return cast("Any", dataset.element_spec)[-1]


def blank(spec: tf.Tensor | tf.TensorSpec) -> tf.Tensor:
    """Returns zeros of a dtype, of a shape that fits: for what is never used."""
    return tf.zeros([] if spec.shape.rank is None else [size or 0 for size in spec.shape], spec.dtype)


def map_values(function: Callable[[tf.Tensor], tf.Tensor], value: Any) -> Any:
    """Applies a function to a tensor, or to the rows of one that has only some."""
    if isinstance(value, tf.IndexedSlices):
        return tf.IndexedSlices(function(value.values), value.indices, value.dense_shape)
    return function(value)


def op_types(graph_def: tf.compat.v1.GraphDef) -> set[str]:
    """Returns the types of all operations of a graph, those of its functions included."""
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    return {node.op for node in nodes}


def dataset_op_types(variant: tf.Tensor) -> set[str]:
    """Returns the types of all operations of a dataset, in any of its stages."""
    ignore_state = tf.data.experimental.ExternalStatePolicy.IGNORE.value
    text = tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=ignore_state)
    return op_types(tf.compat.v1.GraphDef.FromString(text.numpy()))
