"""Kinds of effects in a trace of `model_fn`: what runs in each step, what is an initial value, what runs when fetched.

In TRAIN assignments of TF2 and of Keras's layers run in each step, and so does all that the results, UPDATE_OPS or
another effect depend on. These do not:

- An initial value: an assignment whose value depends on no input or random draw of the step, and on no variable that
  the training changes. Pretrained weights are put in like that. It is made once, where the model begins anew; a
  checkpoint wins.
- On demand: any other assignment by a function of TF1 (`tf.compat.v1.assign(...)`), which a session ran when asked.
- A reset of a metric: its counts begin anew in each evaluation by themselves.
- What moves the averages of a layer that stands still: `frozen_layers` has put these into a collection.

In the other modes the model stays as it is: of assignments to its variables those of Keras's layers run, as in Keras's
`evaluate`, and those that a result depends on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.tensors import PYTHON_OPS, ancestors
from mox_core.engine.tf_internals import func_graph
from mox_core.engine.tf_internals.assignments import made_in_keras_layer, tf1_function
from mox_core.engine.variables.initial_values import evaluate_initial_value
from mox_core.engine.variables.store import HELD, READS
from mox_core.name_lists import counted
from mox_core.user_code import user_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mox_core.engine.tf_internals.keras_owners import GivenValue
    from mox_core.engine.variables.store import LocalVariable, VariableStore

_ASSIGN: Final = "AssignVariableOp"
_READS_OF_FILES: Final = frozenset({"RestoreV2", "ReadFile"})
"""Stateful operations, or operations on files, whose result is the same in every step."""


@frozen(kw_only=True)
class _Assignment:
    """An assignment of `model_fn`.

    Attributes:
        op: the operation.
        function: the function of TF1 that made it, None for a method of the variable.
        variable: the variable, or its part on one device; None for one that mox does not know.
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
    """The assignments of a trace.

    Attributes:
        given: initial values that Keras assigns, of which no operations are made.
        initial: other initial values, in the order of the trace.
        on_demand: those that run when they are fetched.
        resets: those that set metrics to the counts with which they begin.
        held: those that would move the averages of a layer that stands still.
        of_training: those that run in TRAIN alone, where the trace is of another mode.
        against_training: those of each step that assign to a variable which is trained too.
        moved: the variables of the model that are assigned in each step, where the trace is of another mode than TRAIN.
    """

    given: list[GivenValue]
    initial: list[_Assignment] = field(factory=list)
    on_demand: list[_Assignment] = field(factory=list)
    resets: list[_Assignment] = field(factory=list)
    held: list[tf.Operation] = field(factory=list)
    of_training: list[_Assignment] = field(factory=list)
    against_training: list[_Assignment] = field(factory=list)
    moved: list[tf.Variable] = field(factory=list)

    @property
    def set_aside(self) -> list[tf.Operation]:
        """The operations that no step runs by itself."""
        return [*self.held, *(each.op for each in (*self.initial, *self.on_demand, *self.resets, *self.of_training))]

    def give_values(self, store: VariableStore, graph: tf.Graph) -> None:
        """Assign the initial values, unless an earlier trace of the run has given the variable another."""
        # Those of Keras first: of a model that it has loaded, others are copied.
        store.begin_with({id(each.variable): (each.variable, each.value) for each in self.given}.values())
        values: dict[int, tuple[tf.Variable, Any]] = {}
        for each in self.initial:
            if each.variable is not None:
                value = evaluate_initial_value(each.op.inputs[1], each.variable.name, graph, {})
                values[id(each.variable)] = each.variable, value
        store.begin_with(values.values())

    def report(self) -> None:
        """Log what the assignments of TRAIN were taken for, by the lines of the user's code."""
        logger = tf.get_logger()
        if places := [each.place for each in self.given] + [each.place for each in self.initial]:
            logger.info(
                "Initial values assigned in model_fn (%s): they are assigned once, where the training begins; a "
                "checkpoint has the last word. To assign them in each step: tf.compat.v1.add_to_collection("
                "tf.compat.v1.GraphKeys.UPDATE_OPS, variable.assign(...)).",
                _lines(places),
            )
        if self.on_demand:
            logger.info(
                "Assignments by tf.compat.v1.%s (%s) run when a hook fetches them. To run one in each step, add it to "
                "tf.compat.v1.GraphKeys.UPDATE_OPS, or write variable.assign(...).",
                " and ".join(sorted({each.function or "assign" for each in self.on_demand})),
                _lines(each.place for each in self.on_demand),
            )
        if self.resets:
            logger.info(
                "Metrics are reset in model_fn (%s): that is left out. Their counts begin anew in each evaluation, and "
                "in TRAIN after each line of the log.",
                _lines(each.place for each in self.resets),
            )
        if self.against_training:
            logger.warning(
                "model_fn assigns to variables that are trained, in each step and beside the optimizer (%s), as the "
                "value depends on what a step has: on an input, a random number or a variable that changes. To assign "
                "it once, as an initial value, do that inside of `with tf.init_scope():`. If each step is meant: "
                "tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.UPDATE_OPS, variable.assign(...)).",
                _lines(each.place for each in self.against_training),
            )

    def report_of_training(self) -> None:
        """Log what is not assigned, as the mode is not TRAIN."""
        if self.of_training:
            tf.get_logger().info(
                "Assignments to variables of the model (%s) are made in TRAIN alone: here these have the values of the "
                "checkpoint. What is counted over the samples belongs into a metric or tf.compat.v1.GraphKeys."
                "LOCAL_VARIABLES.",
                _lines(each.place for each in self.of_training),
            )


def sort_effects(
    graph: tf.Graph,
    results: Iterable[Any],
    *,
    training: bool,
    given: list[GivenValue],
    variables: Mapping[int, tf.Variable],
    counts: Mapping[int, LocalVariable],
) -> Effects:
    """Find what kind each assignment of a trace is of.

    Args:
        graph: the graph, before TensorFlow has ordered its effects.
        results: tensors that a step computes.
        training: whether the mode is TRAIN.
        given: the values that Keras assigns.
        variables: the variables and their parts by the id of their handle.
        counts: what metrics count in, by the id of the handle.
    """
    return _Sorter(graph, list(results), training=training, variables=variables, counts=counts).sort(given)


@define
class _Sorter:
    """What is known of the operations of a trace; for its arguments see `sort_effects`."""

    _graph: Any
    _results: list[Any]
    _training: bool = field(kw_only=True)
    _variables: Mapping[int, tf.Variable] = field(kw_only=True)
    _counts: Mapping[int, LocalVariable] = field(kw_only=True)
    _held: dict[str, tf.Operation] = field(init=False)
    _operations: list[tf.Operation] = field(init=False)
    _outside: dict[str, Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._held = {op.name: op for op in self._graph.get_collection(HELD)}
        self._operations = [op for op in self._graph.get_operations() if op.name not in self._held]
        self._outside = {inner.op.name: outer for outer, inner in func_graph.captures(self._graph)}

    def sort(self, given: list[GivenValue]) -> Effects:
        """Return the effects of the trace."""
        assigning = [op for op in self._operations if _assigns(op)]
        if not assigning:
            return Effects(given, held=list(self._held.values()))
        asked = [*self._results, *(self._updates() if self._training else [])]
        changing = self._changing(self._still(assigning, asked))
        effects = Effects(given, held=list(self._held.values()))
        candidates, others = dict[str, _Assignment](), list[_Assignment]()
        for op in assigning:
            each = self._assignment(op, changing)
            count = self._counts.get(self._handle(op))
            if count is not None:
                if each.constant and self._is_reset(each, count):
                    effects.resets.append(each)
            elif each.constant or each.function or not (self._training or made_in_keras_layer(op)):
                candidates[op.name] = each
            else:
                others.append(each)
        apart = candidates.keys() | {each.op.name for each in effects.resets}
        always = [op for op in self._operations if _has_effect(op) and op.name not in apart]
        needed = {op.name for op in ancestors([*asked, *always])}
        self._divide([each for name, each in candidates.items() if name not in needed], effects)
        if self._training:
            effects.against_training = self._against_training(others, asked)
        else:
            effects.moved = self._moved({op.name for op in effects.set_aside})
        return effects

    def _divide(self, free: list[_Assignment], effects: Effects) -> None:
        """Divide what nothing depends on into initial values, and what runs on demand or in TRAIN."""
        # Two constants that TF1 assigns to one variable, to switch it on and off, say, are no initial value.
        times = [id(each.variable) for each in free if each.constant and each.function]
        effects.initial = [each for each in free if each.constant and times.count(id(each.variable)) <= 1]
        rest = [each for each in free if each not in effects.initial]
        effects.on_demand = [each for each in rest if each.function]
        effects.of_training = [each for each in rest if not each.function]

    def _handle(self, op: tf.Operation) -> int:
        """Return the id of the handle of the variable that an operation reads or assigns; 0 for another's."""
        outer = self._outside.get(op.inputs[0].op.name)
        return 0 if outer is None else id(outer)

    def _assignment(self, op: tf.Operation, changing: set[str]) -> _Assignment:
        return _Assignment(
            op=op,
            function=tf1_function(op),
            variable=self._variables.get(self._handle(op)),
            constant=op.type == _ASSIGN and op.inputs[1].op.name not in changing,
        )

    def _is_reset(self, assignment: _Assignment, count: LocalVariable) -> bool:
        value = evaluate_initial_value(assignment.op.inputs[1], count.variable.name, self._graph, {})
        return np.array_equal(value, count.initial)

    def _updates(self) -> list[tf.Operation]:
        collected = self._graph.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)
        updates = [each if isinstance(each, tf.Operation) else getattr(each, "op", None) for each in collected]
        return [op for op in updates if op is not None and op.name not in self._held]

    def _still(self, assigning: list[tf.Operation], asked: list[Any]) -> set[int]:
        """Return the ids of the handles of variables that no step changes: nothing assigns to them or trains them."""
        names = {op.name for op in assigning}
        live = ancestors([*asked, *(op for op in self._operations if _has_effect(op) and op.name not in names)])
        handles = {id(outer) for outer in self._outside.values() if outer.dtype == tf.resource}
        read = {self._handle(op) for op in live if op.type in READS}
        return handles - read - {self._handle(op) for op in assigning}

    def _changing(self, still: set[int]) -> set[str]:
        """Return the names of operations that may give something else in each step.

        They depend on an input, a random draw, or a variable that is not still.
        """
        changing: set[str] = set()
        for op in self._operations:  # in the order in which they were made
            before = (*(each.op for each in op.inputs), *op.control_inputs)
            if self._changes(op, still) or any(each.name in changing for each in before):
                changing.add(op.name)
        return changing

    def _changes(self, op: tf.Operation, still: set[int]) -> bool:
        if op.type == "Placeholder":
            outer = self._outside.get(op.name)
            return outer is None or (outer.dtype == tf.resource and id(outer) not in still)
        return op.type not in PYTHON_OPS and _has_effect(op)

    def _against_training(self, assignments: list[_Assignment], asked: list[Any]) -> list[_Assignment]:
        meant = {op.name for op in ancestors(asked)}
        return [
            each
            for each in assignments
            if each.variable is not None
            and each.variable.trainable
            and each.op.name not in meant
            and not made_in_keras_layer(each.op)
        ]

    def _moved(self, set_aside: set[str]) -> list[tf.Variable]:
        """Return the variables that operations assign, or may assign in a branch, a loop or a function."""
        handles = {
            id(self._outside[each.op.name])
            for op in self._operations
            if op.name not in set_aside and _has_effect(op) and op.type not in READS
            for each in op.inputs
            if each.op.name in self._outside
        }
        return [variable for handle, variable in self._variables.items() if handle in handles]


def _assigns(op: tf.Operation) -> bool:
    return op.type.startswith(("Assign", "ResourceScatter", "ResourceCountUpTo")) and op.type.endswith(
        ("VariableOp", "Add", "Sub", "Mul", "Div", "Min", "Max", "Update", "CountUpTo")
    )


def _has_effect(op: tf.Operation) -> bool:
    definition = op.op_def
    return definition is None or (definition.is_stateful and op.type not in {"ReadVariableOp", *_READS_OF_FILES})


def _lines(places: Iterable[str]) -> str:
    return counted(dict.fromkeys(places), 3)  # enough to find them
