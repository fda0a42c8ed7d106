"""Datasets that were made outside of `input_fn`, and shuffle: their order becomes that of the run.

Such a dataset draws its seeds where it is made, anew in each process, and counts its epochs in itself: a resumed run
would see other samples than those it has not seen. So a run reads a copy, with seeds that are a function of its own.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.engine import randomness
from mox_core.engine.input.dataset_source import DatasetSource
from mox_core.engine.tensors import RANDOM_OPS
from mox_core.engine.tf_internals import datasets, func_graph
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_core.engine.input.input_trace import InputTrace
    from mox_core.engine.tensors import Dataset

_SEEDED: Final = {"ShuffleDatasetV3": 2, "ShuffleDatasetV2": 2, "ShuffleDataset": 2, "RandomDataset": 0}
"""Operations that draw, with the number of their input that is the first of two seeds."""
_SHARED_GENERATOR: Final = "ShuffleDatasetV3"
"""The operation that keeps its epochs outside of itself, under a name that copies of it share."""
_WITHOUT_GENERATOR: Final = "ShuffleDataset"
"""The same with a generator of its own, and without the input that names the shared one."""
_DRAWS: Final = frozenset({*_SEEDED, "ShuffleAndRepeatDatasetV2", "RandomDatasetV2"})
_SEED_OF_OP_ALONE: Final = 87654321
"""TensorFlow's first seed where a seed was given to `shuffle` and none to `tf.random.set_seed`."""
_MOST_BYTES: Final = 1 << 28
"""A copy holds the arrays of the dataset a second time."""

_REFUSED: Final = (
    "a dataset that was made outside of input_fn is shuffled there, and {why}: in a run that is resumed, samples would "
    "come twice or not at all. Shuffle inside input_fn: `return dataset.shuffle(...)`. What comes before may stay "
    "outside."
)


def take_order_of_run(graph: Any, trace: InputTrace, seed: int) -> None:
    """Give the datasets from outside that an `input_fn` reads an order that a resumed run has too.

    Args:
        graph: the graph of `input_fn`, at the end of its trace.
        trace: what it reads and returns.
        seed: the seed of the run.

    Raises:
        UsageError: for a dataset whose order cannot be repeated.
    """
    stages = [stage for each in trace.datasets for stage in datasets.stages(each)]
    known = {id(tf.data.experimental.to_variant(stage)): stage for stage in stages}
    numbers = itertools.count()

    def copy(variant: tf.Tensor) -> tf.Tensor:
        key = randomness.fold(seed, "outside", next(numbers))
        dataset = known.get(id(variant))
        return variant if dataset is not None and not _is_shuffled(dataset) else reseeded(variant, key)

    with tf.init_scope():
        for outer, _ in func_graph.captures(graph):
            if outer.dtype == tf.variant and (new := copy(outer)) is not outer:
                func_graph.replace_capture(graph, outer, new)
        for source, _ in trace.sources:
            if isinstance(source, DatasetSource) and not tf.is_symbolic_tensor(source.variant):
                source.variant = copy(source.variant)


def _is_shuffled(dataset: Dataset) -> bool:
    """Whether a dataset from outside draws its order, in any of its stages.

    Raises:
        UsageError: if it does, and cannot be copied.
    """
    stages = list(datasets.stages(dataset))
    draws = set().union(*map(_drawing_ops, stages))
    if not draws & _DRAWS:
        if draws:
            _warn_of_draws()
        return False
    if sum(map(datasets.array_bytes, stages)) > _MOST_BYTES:
        raise UsageError(_REFUSED.format(why="its arrays are too large to be copied"))
    return True


def reseeded(variant: tf.Tensor, seed: int) -> tf.Tensor:
    """Return a copy of a dataset that is at its beginning, and draws its order from a seed.

    A seed that was given to `shuffle` itself is kept.

    Raises:
        UsageError: if it draws what no seed can be given to.
    """
    ignore_state = tf.data.experimental.ExternalStatePolicy.IGNORE.value
    try:
        text = tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=ignore_state).numpy()
    except tf.errors.OpError as error:
        raise UsageError(_REFUSED.format(why="it cannot be copied")) from error
    if not text:
        raise UsageError(_REFUSED.format(why="it is too large to be copied"))
    graph = tf.compat.v1.GraphDef.FromString(text)
    changed = False
    for number, (node, constants) in enumerate(_nodes(graph)):
        if node.op in RANDOM_OPS:
            _warn_of_draws()
        if node.op not in _DRAWS:
            continue
        changed = True
        if node.op not in _SEEDED:
            raise UsageError(_REFUSED.format(why=f"draws by {node.op}, whose order cannot be repeated"))
        _seed(node, constants, randomness.fold(seed, number))
    return tf.raw_ops.DatasetFromGraph(graph_def=graph.SerializeToString()) if changed else variant


def _drawing_ops(stage: Dataset) -> set[str]:
    """Return the types of the operations of one stage, as far as they draw."""
    types = datasets.op_types_of_functions(stage) & (_DRAWS | RANDOM_OPS)
    name = type(stage).__name__.removeprefix("_")
    return types | ({name} if name in {"ShuffleDataset", "RandomDataset"} else set())


def _nodes(graph: tf.compat.v1.GraphDef) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield each node of a graph and its functions, with the constants beside it by name."""
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        constants = {node.name: node for node in nodes if node.op == "Const"}
        for node in nodes:
            yield node, constants


def _seed(node: Any, constants: dict[str, Any], seed: int) -> None:
    first = _SEEDED[node.op]
    names = [name.partition(":")[0] for name in node.input[first : first + 2]]
    if any(name not in constants for name in names):
        raise UsageError(_REFUSED.format(why="its seed is computed"))
    found = [constants[name] for name in names]
    values = [int(tf.make_ndarray(each.attr["value"].tensor)) for each in found]
    if values[0] != _SEED_OF_OP_ALONE:
        for each, value in zip(found, (seed, 1), strict=True):
            each.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.int64))
    if node.op == _SHARED_GENERATOR:
        node.op = _WITHOUT_GENERATOR
        del node.input[first + 2]


def _warn_of_draws() -> None:
    tf.get_logger().warning(
        "a dataset that was made outside of input_fn draws random numbers in its functions: a run that is resumed "
        "draws others. Map such functions inside input_fn, where mox seeds them."
    )
