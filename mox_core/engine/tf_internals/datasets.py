"""The stages of a `tf.data.Dataset` as Python objects: what a dataset was made of has no public name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAME_ELEMENTS: Final = frozenset(
    {
        "CacheDataset",
        "_ConcatenateDataset",
        "_FilterDataset",
        "_IgnoreErrorsDataset",
        "_OptionsDataset",
        "_PrefetchDataset",
        "_RepeatDataset",
        "_ShardDataset",
        "_ShuffleDataset",
        "_SkipDataset",
        "_TakeDataset",
        "_TakeWhileDataset",
    }
)
_BATCHES: Final = frozenset({"_BatchDataset", "_ParallelBatchDataset", "_PaddedBatchDataset"})
_MAPS: Final = frozenset({"_MapDataset", "_ParallelMapDataset"})
_OF_TF1: Final = "_dataset"
"""The attribute by which a dataset of TF1 holds that of TF2."""


@frozen
class Batched:
    """How the elements of a dataset were batched last.

    Attributes:
        method: the method of `tf.data.Dataset`.
        size: the number of elements in a batch; None where it is computed.
        mapped: whether a function was mapped over the batches, which may have changed what they are.
    """

    method: str
    size: int | None
    mapped: bool


def stages(dataset: tf.data.Dataset[Any]) -> Iterator[tf.data.Dataset[Any]]:
    """Yield a dataset and all that it was made of, the last stage first."""
    stage: Any = getattr(dataset, _OF_TF1, dataset)
    yield stage
    for each in stage._inputs():  # noqa: SLF001  (see above)
        yield from stages(each)


def batched(dataset: tf.data.Dataset[Any]) -> Batched | None:
    """Return how a dataset was batched; None where its elements are not batches, as far as that can be seen."""
    mapped = False
    for stage in stages(dataset):
        name = type(stage).__name__
        if name in _BATCHES:
            size = tf.get_static_value(stage._batch_size)  # noqa: SLF001
            method = "padded_batch" if name == "_PaddedBatchDataset" else "batch"
            if any(type(each).__name__ == "_DenseToRaggedDataset" for each in stage._inputs()):  # noqa: SLF001
                method = "ragged_batch"
            return Batched(method, None if size is None else int(size), mapped)
        if name in _MAPS:
            mapped = True
        elif name not in _SAME_ELEMENTS:
            return None
    return None


def graphs_of_functions(dataset: tf.data.Dataset[Any]) -> list[tf.compat.v1.GraphDef]:
    """Return the functions of one stage of a dataset as graphs, each with those that it calls in its library."""
    return [each.function.graph.as_graph_def() for each in dataset._functions()]  # noqa: SLF001  (see above)


def op_types_of_functions(dataset: tf.data.Dataset[Any]) -> set[str]:
    """Return the types of the operations in the functions of one stage of a dataset."""
    graphs = graphs_of_functions(dataset)
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for function in graph.library.function for node in function.node_def]
    return {node.op for node in nodes}


def array_bytes(dataset: tf.data.Dataset[Any]) -> int:
    """Return the size of the arrays that one stage of a dataset holds in memory."""
    return sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in getattr(dataset, "_tensors", ()))
