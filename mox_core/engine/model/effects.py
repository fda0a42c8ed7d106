"""Kinds of effects in a trace of `model_fn`: what runs in each step, what is an initial value, what runs when fetched.

Assignments of TF2 and of Keras's layers run in each step, and so does all that the results, UPDATE_OPS or another
effect depend on. Two kinds do not:

- An initial value: an assignment whose value depends on no input, variable or random draw of the step. Pretrained
  weights are put in like that. It is assigned once, where the model begins anew; a checkpoint wins.
- On demand: any other assignment by a function of TF1 (`tf.compat.v1.assign(...)`), which a session ran when asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.tensors import ancestors
from mox_core.engine.tf_internals import func_graph
from mox_core.engine.tf_internals.tf1_assignments import tf1_function
from mox_core.engine.variables.initial_values import evaluate_initial_value
from mox_core.user_code import user_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mox_core.engine.tf_internals.keras_owners import GivenValue
    from mox_core.engine.variables.store import VariableStore

_ASSIGN: Final = "AssignVariableOp"
_CHANGING: Final = frozenset({"Placeholder", "ReadVariableOp"})
_READS_OF_FILES: Final = frozenset({"RestoreV2", "ReadFile"})
"""Stateful operations, or operations on files, whose result is the same in every step."""


@frozen(kw_only=True)
class _Assignment:
    """An assignment that does not run by itself.

    Attributes:
        op: the operation.
        function: the function of TF1 that made it, None for a method of the variable.
        variable: the variable, or its part on one device.
        constant: whether the value depends on nothing that a step has.
    """

    op: tf.Operation
    function: str | None
    variable: tf.Variable | None
    constant: bool

    @property
    def place(self) -> str:
        """The line of the user's code."""
        return user_line(self.op.traceback)


@define
class Effects:
    """The assignments of a trace that do not run in each step.

    Attributes:
        given: initial values that Keras assigns, of which no operations are made.
        initial: other initial values, in the order of the trace.
        on_demand: those that run when they are fetched.
    """

    given: list[GivenValue]
    initial: list[_Assignment] = field(factory=list)
    on_demand: list[_Assignment] = field(factory=list)

    @property
    def set_aside(self) -> list[tf.Operation]:
        """The operations that no step runs by itself."""
        return [each.op for each in (*self.initial, *self.on_demand)]

    def give_values(self, store: VariableStore, graph: tf.Graph) -> None:
        """Assign the initial values, unless an earlier trace of the run has given the variable another."""
        values: dict[int, tuple[tf.Variable, Any]] = {
            id(each.variable): (each.variable, each.value) for each in self.given
        }
        for each in self.initial:
            if each.variable is not None:
                value = evaluate_initial_value(each.op.inputs[1], each.variable.name, graph, {})
                values[id(each.variable)] = each.variable, value
        store.begin_with(values.values())

    def report(self) -> None:
        """Log what the assignments were taken for, once for each line of the user's code."""
        places = [each.place for each in self.given] + [each.place for each in self.initial]
        if places:
            tf.get_logger().info(
                "%d assignments of model_fn are initial values (%s): they are made once, where the training begins; a "
                "checkpoint has the last word. For one in each step: tf.compat.v1.add_to_collection("
                "tf.compat.v1.GraphKeys.UPDATE_OPS, variable.assign(...)).",
                len(places),
                _listed(places),
            )
        if self.on_demand:
            tf.get_logger().info(
                "%d assignments by tf.compat.v1.%s run when a hook fetches them (%s). For one in each step, add it to "
                "tf.compat.v1.GraphKeys.UPDATE_OPS, or write variable.assign(...).",
                len(self.on_demand),
                " and ".join(sorted({each.function or "assign" for each in self.on_demand})),
                _listed([each.place for each in self.on_demand]),
            )


def sort_effects(
    graph: tf.Graph,
    results: Iterable[Any],
    *,
    given: list[GivenValue],
    variables: Mapping[int, tf.Variable],
    counting: set[int],
) -> Effects:
    """Find the assignments of a trace that are not part of each step.

    Args:
        graph: the graph, before TensorFlow has ordered its effects.
        results: tensors that a step computes.
        given: the values that Keras assigns.
        variables: the variables and their parts by the id of their handle.
        counting: the ids of the handles of metrics, of which every assignment runs.
    """
    outer = {inner.op.name: id(handle) for handle, inner in func_graph.captures(graph)}
    operations = graph.get_operations()
    candidates: dict[str, _Assignment] = {}
    changing = _changing(operations)
    for op in operations:
        if not _assigns(op) or outer.get(op.inputs[0].op.name) in counting:
            continue
        constant = op.type == _ASSIGN and op.inputs[1].op.name not in changing
        function = tf1_function(op)
        if constant or function:
            variable = variables.get(outer.get(op.inputs[0].op.name, 0))
            candidates[op.name] = _Assignment(op=op, function=function, variable=variable, constant=constant)
    if not candidates:
        return Effects(given)
    collected = graph.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)
    updates = [each if isinstance(each, tf.Operation) else getattr(each, "op", None) for each in collected]
    always = [op for op in operations if op.name not in candidates and _has_effect(op)]
    wanted = [*results, *(op for op in updates if op is not None), *always]
    needed = {op.name for op in ancestors(wanted)}
    free = [each for name, each in candidates.items() if name not in needed]
    # Two constants that TF1 assigns to one variable, to switch it on and off, say, are no initial value.
    times = [id(each.variable) for each in free if each.constant and each.function]
    initial = [each for each in free if each.constant and times.count(id(each.variable)) <= 1]
    return Effects(given, initial=initial, on_demand=[each for each in free if each not in initial])


def _assigns(op: tf.Operation) -> bool:
    return op.type.startswith(("Assign", "ResourceScatter", "ResourceCountUpTo")) and op.type.endswith(
        ("VariableOp", "Add", "Sub", "Mul", "Div", "Min", "Max", "Update", "CountUpTo")
    )


def _has_effect(op: tf.Operation) -> bool:
    definition = op.op_def
    return definition is None or (definition.is_stateful and op.type not in {"ReadVariableOp", *_READS_OF_FILES})


def _changing(operations: Iterable[tf.Operation]) -> set[str]:
    """Return the names of operations that may give something else in each step.

    They depend on an input, a variable or a random draw.

    Args:
        operations: those of a graph, in the order in which they were made.
    """
    changing: set[str] = set()
    for op in operations:
        before = (*(each.op for each in op.inputs), *op.control_inputs)
        if op.type in _CHANGING or _has_effect(op) or any(each.name in changing for each in before):
            changing.add(op.name)
    return changing


def _listed(places: Iterable[str]) -> str:
    places = list(dict.fromkeys(places))
    more = f" and {len(places) - 3} more lines" if len(places) > 3 else ""  # noqa: PLR2004  (enough to find them)
    return ", ".join(places[:3]) + more
