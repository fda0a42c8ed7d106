"""What samples are made of that has no place in the input: it is not known where a resumed run finds it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.engine.tensors import PYTHON_OPS, RANDOM_OPS, ancestors, functions_called
from mox_core.engine.tf_internals import datasets, func_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mox_core.engine.input.input_trace import InputTrace

_GENERATOR: Final = frozenset({"GeneratorDataset"})
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
_DRAWN: Final = (
    "random numbers are drawn in a dataset that a parallel interleave makes: its datasets draw from one sequence, and "
    "which of them comes first is chance, so a run with the same seed, and a resumed one, draws others. Draw them "
    "behind it: dataset.interleave(...).map(...); or leave num_parallel_calls out of interleave."
)
_PARALLEL_INTERLEAVE: Final = "ParallelInterleave"
_NUMBERS: Final = frozenset({"RandomDataset", "RandomDatasetV2"})
"""The user's, and what the random operations in a `map` take their seeds from in a run."""


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
    in_functions = [node for name in functions_called(nodes, library, but=_GENERATOR) for node in library[name]]
    draws_in_parallel = any(_draws_in_parallel(node, library) for node in [*nodes, *in_functions])
    for stage in (stage for dataset in trace.datasets for stage in datasets.stages(dataset)):
        for body in datasets.graphs_of_functions(stage):
            library = {function.signature.name: function.node_def for function in body.library.function}
            called = functions_called(body.node, library, but=_GENERATOR)
            in_functions += [*body.node, *(node for name in called for node in library[name])]
    if any(_is_python_without_argument(node) for node in [*nodes, *in_functions]):
        tf.get_logger().warning(_PYTHON)
    if draws_in_parallel:
        tf.get_logger().warning(_DRAWN)
    if training and any(node.op.startswith(_SHUFFLE) for node in in_functions):
        tf.get_logger().warning(_SHUFFLED)


def _draws_in_parallel(node: Any, library: Mapping[str, Any]) -> bool:
    """Whether a node reads datasets in parallel that draw. What makes them may: it is called for one after another."""
    if not node.op.startswith(_PARALLEL_INTERLEAVE):
        return False
    made = library.get(node.attr["f"].func.name, [])
    below = [each for name in functions_called(made, library, but=_GENERATOR) for each in library[name]]
    return any(each.op in _NUMBERS for each in [*made, *below]) or any(each.op in RANDOM_OPS for each in below)


def _is_python_without_argument(node: Any) -> bool:
    return node.op in PYTHON_OPS and all(name.startswith("^") for name in node.input)
