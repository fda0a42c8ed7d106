"""What samples are made of that has no place in the input: it is not known where a resumed run finds it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.engine.tensors import PYTHON_OPS, ancestors
from mox_core.engine.tf_internals import datasets, func_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mox_core.engine.input.input_trace import InputTrace

_GENERATOR: Final = "GeneratorDataset"
"""What `from_generator` makes: its functions in Python have no argument, and are read in their order."""
_SHUFFLE: Final = "Shuffle"

_PYTHON: Final = (
    "input_fn calls a Python function without an argument (tf.py_function, tf.numpy_function): what it gives belongs "
    "to no sample. Samples are made in parallel, so two runs get it in another order, and a resumed run anew. Give the "
    "function the number of its sample (dataset.enumerate(), mox.get_next(tf.data.Dataset.range(n))), or read an "
    "iterator by tf.data.Dataset.from_generator; what never changes is computed before: tf.constant(function())."
)
_SHUFFLED: Final = (
    "a dataset is shuffled in a function of another one (flat_map, interleave): it has the same order there in each "
    "epoch. Shuffle what comes out: dataset.flat_map(...).shuffle(...)."
)


def warn_of_unplaced(graph: Any, outputs: Sequence[tf.Tensor], trace: InputTrace, *, training: bool) -> None:
    """Warn of what a resumed run, or the next epoch, will not find as it should.

    Args:
        graph: the graph of `input_fn`.
        outputs: what it returns, and the datasets that it has made.
        trace: what it reads.
        training: whether the input goes round and is resumed.
    """
    nodes = [op.node_def for op in ancestors(outputs) if op.type != "Const"]  # which may be large
    library = {name: function.node_def for name, function in func_graph.function_defs(graph).items()}
    in_functions = list(_nodes_in_functions(nodes, library))
    for stage in (stage for dataset in trace.datasets for stage in datasets.stages(dataset)):
        for body in datasets.graphs_of_functions(stage):
            library = {function.signature.name: function.node_def for function in body.library.function}
            in_functions += [*body.node, *_nodes_in_functions(body.node, library)]
    if any(_is_python_without_argument(node) for node in [*nodes, *in_functions]):
        tf.get_logger().warning(_PYTHON)
    if training and any(node.op.startswith(_SHUFFLE) for node in in_functions):
        tf.get_logger().warning(_SHUFFLED)


def _is_python_without_argument(node: Any) -> bool:
    return node.op in PYTHON_OPS and all(name.startswith("^") for name in node.input)


def _nodes_in_functions(nodes: Iterable[Any], library: Mapping[str, Iterable[Any]]) -> Iterator[Any]:
    """Yield the nodes of all functions that some nodes call, at any depth."""
    waiting = list(nodes)
    known: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node.op == _GENERATOR:
            continue
        for value in node.attr.values():
            for name in (value.func.name, *(each.name for each in value.list.func)):
                if name in library and name not in known:
                    known.add(name)
                    yield from library[name]
                    waiting += library[name]
