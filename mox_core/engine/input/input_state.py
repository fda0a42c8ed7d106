"""The state of `input_fn`: what of its operations is done once, before the first sample, and what with each sample.

Samples are made in parallel, and again after a resume, so what they are made of must not change with them: lookup
tables and variables are filled once, and operations that change them with a sample are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from mox_core.engine.tensors import ancestors, functions_called
from mox_core.engine.tf_internals import func_graph
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import tensorflow as tf

_CALLS: Final = frozenset(
    {"If", "StatelessIf", "While", "Case", "PartitionedCall", "StatefulPartitionedCall", "PyFunc", "EagerPyFunc"}
)
_COUNTS: Final = frozenset({"AssignAddVariableOp", "AssignSubVariableOp"})
_DRAWS: Final = frozenset({"RngReadAndSkip", "RngSkip"})
_FILLS_TABLE: Final = frozenset({"LookupTableInsertV2", "LookupTableRemoveV2", "LookupTableImportV2"})
_ASSIGN: Final = "AssignVariableOp"
_SCATTERS: Final = "ResourceScatter"
_CHANGES: Final = _COUNTS | _DRAWS | _FILLS_TABLE | {_ASSIGN}

_GENERATOR: Final = (
    "input_fn draws from a tf.random.Generator{}, which keeps its state in a variable: samples are made in parallel, "
    "and a resumed run would draw other numbers. Draw by tf.random.uniform, tf.random.normal and their like, which mox "
    "seeds in input_fn."
)
_VARIABLE: Final = (
    "input_fn changes a variable by {} as samples are made: they are made in parallel, and a resumed run begins "
    "without its value. Count by the dataset itself (dataset.enumerate(), mox.get_next(tf.data.Dataset.range(n))); a "
    "variable may be set once, to a value that depends on no sample."
)
_TABLE: Final = (
    "input_fn changes a lookup table by {} as samples are made: they are made in parallel, and a resumed run begins "
    "without its entries. Fill the table in input_fn with values that depend on no sample; it is filled before the "
    "first one."
)


def refuse_generator(how: str = "") -> UsageError:
    """Return the error for a generator of random numbers; `how` tells how it was made."""
    return UsageError(_GENERATOR.format(how))


@frozen
class Effects:
    """The operations of `input_fn` that are there for what they do, not for a result.

    Attributes:
        once: those that depend on no sample, in the order in which they were made.
        each: those that run with each sample.
    """

    once: Sequence[tf.Operation] = field(factory=tuple)
    each: Sequence[tf.Operation] = field(factory=tuple)


def effects_of(graph: tf.Graph, outputs: Sequence[tf.Tensor], fed: Iterable[tf.Tensor]) -> Effects:
    """Return the operations of `input_fn` with an effect.

    Args:
        graph: its graph.
        outputs: what it returned, and the datasets that it reads.
        fed: the placeholders of the position and of samples.

    Raises:
        UsageError: if samples change what they are made of.
    """
    fed_ops = {tensor.op.name for tensor in fed}
    returned = {tensor.op.name for tensor in outputs}

    def depends_on_sample(op: tf.Operation) -> bool:
        return any(before.name in fed_ops for before in ancestors([op]))

    stateful = [op for op in graph.get_operations() if op.op_def.is_stateful and op.name not in returned]
    silent = [op for op in stateful if not op.outputs]
    used = {op.name for op in ancestors([*outputs, *silent])}
    made = [op for op in stateful if not op.outputs or (op.type in _CALLS and op.name not in used)]
    each = [op for op in made if depends_on_sample(op)]
    once = [op for op in made if op not in each]
    with_samples = ancestors([*outputs, *each])
    for op in with_samples:
        if op.type in _CHANGES or op.type.startswith(_SCATTERS):
            _refuse_change(op.type, set_by_sample=depends_on_sample(op))
    for op in once:
        _refuse_change(op.type, set_by_sample=False)
    for name in _op_types_in_functions(graph, [op for op in with_samples if op not in once]):
        _refuse_change(name, set_by_sample=True)
    return Effects(once, each)


def run_once(function: Any, effects: Effects) -> None:
    """Do what `input_fn` does once, in its order.

    Args:
        function: `input_fn` as a function that can be pruned.
        effects: its operations.
    """
    for op in effects.once:
        function.prune([], [op])()


def _refuse_change(op_type: str, *, set_by_sample: bool) -> None:
    """Refuse an operation that changes with samples what they are made of.

    Args:
        op_type: its type.
        set_by_sample: whether it runs with each sample and may have another value with each.
    """
    if op_type in _DRAWS:
        raise refuse_generator()
    if op_type in _COUNTS or op_type.startswith(_SCATTERS):
        raise UsageError(_VARIABLE.format(op_type))
    if set_by_sample and op_type == _ASSIGN:
        raise UsageError(_VARIABLE.format(op_type))
    if set_by_sample and op_type in _FILLS_TABLE:
        raise UsageError(_TABLE.format(op_type))


def _op_types_in_functions(graph: tf.Graph, callers: Sequence[tf.Operation]) -> set[str]:
    """Return the types of all operations in the functions that some operations of a graph call, at any depth."""
    library = {name: function.node_def for name, function in func_graph.function_defs(graph).items()}
    calling = [op.node_def for op in callers if any("func" in each.type for each in op.op_def.attr)]
    return {node.op for name in functions_called(calling, library) for node in library[name]}
