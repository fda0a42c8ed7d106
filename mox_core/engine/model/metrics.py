"""Metrics: log values that are read from counts of all samples, once, instead of averaged over the steps.

A metric counts in variables that belong to one trace. They begin anew in each evaluation, and in TRAIN after each line
of the log; they are in no checkpoint. The counts of all replicas and workers are added up before a value is read.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.tensors import ancestors
from mox_core.engine.tf_internals import func_graph
from mox_core.engine.tf_internals.variables import handles_of, local_parts, parts_of
from mox_core.engine.variables.initial_values import cut_out
from mox_core.engine.variables.store import READS
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mox_core.engine.distribute.collectives import Collective
    from mox_core.engine.variables.store import LocalVariable

_CASTS: Final = frozenset({"Identity", "Cast"})
_SUMS: Final = frozenset({"AddV2", "Add", "AddN", "Sub"})
_ADDING: Final = frozenset({"AssignAddVariableOp", "AssignSubVariableOp", "ResourceScatterAdd", "ResourceScatterSub"})


@frozen
class LogTensors:
    """The log values of one call of `model_fn`.

    Attributes:
        names: all names, in their order.
        scalars: those of which a step has a value of its own.
        metrics: those that are read from the counts of metrics.
    """

    names: tuple[str, ...]
    scalars: dict[str, tf.Tensor]
    metrics: dict[str, tf.Tensor]


def log_tensors(values: Mapping[str, Any], graph: tf.Graph, variables: Sequence[LocalVariable]) -> LogTensors:
    """Return log values as tensors, and tell metrics from other values.

    Args:
        values: scalar tensors, metrics of Keras, tensors of their results, or pairs (value, update_op) of TF1.
        graph: the graph in which they were made.
        variables: what the metrics of the graph count in.
    """
    tensors: dict[str, tf.Tensor] = {}
    for name, value in values.items():
        result = value.result() if _is_keras_metric(value) else value
        if isinstance(result, dict):
            tensors |= {f"{name}/{key}": tf.convert_to_tensor(each) for key, each in result.items()}
        elif isinstance(result, (tuple, list)) and len(result) == 2:  # noqa: PLR2004  (value, update_op)
            tensors[name] = tf.convert_to_tensor(result[0])
        else:
            tensors[name] = tf.convert_to_tensor(result)
    counting = {handle: each for each in variables for handle in handles_of(each.variable)}
    outer = {inner.op.name: id(handle) for handle, inner in func_graph.captures(graph)}
    metrics = {name for name, tensor in tensors.items() if _is_metric(name, tensor, outer, counting)}
    return LogTensors(
        names=tuple(tensors),
        scalars={name: tensor for name, tensor in tensors.items() if name not in metrics},
        metrics={name: tensor for name, tensor in tensors.items() if name in metrics},
    )


def _is_keras_metric(value: Any) -> bool:
    return hasattr(value, "update_state") and hasattr(value, "result")


def _is_metric(name: str, tensor: tf.Tensor, outer: Mapping[str, int], counting: Mapping[int, LocalVariable]) -> bool:
    """Whether a tensor is read from the counts of metrics, and from nothing that each step has anew.

    Raises:
        UsageError: if nothing counts in them.
    """
    if not counting or not tf.is_symbolic_tensor(tensor):
        return False
    ops = ancestors([tensor], ordered=False)
    placeholders = [op for op in ops if op.type == "Placeholder"]
    read = [op for op in placeholders if outer.get(op.name) in counting]
    if not read:
        return False
    if all(use.type in READS for op in read for use in op.outputs[0].consumers()):
        raise UsageError(
            f"{name} is read from a metric that model_fn never updates, and would be the same for any data: call "
            "metric.update_state(labels, predictions) in model_fn."
        )
    if any(op.name not in outer for op in placeholders):
        tf.get_logger().warning(
            "%s is computed from a metric and from the inputs of the step: it is averaged over the steps, which is not "
            "its value over all samples. Log the metric alone.",
            name,
        )
        return False
    return True


@define
class Metrics:
    """The metrics of a graph.

    Attributes:
        names: all names of log values in their order, also those that are no metrics.
        tensors: the metrics of the first replica, by name.
        variables: what they count in.
        graph: the graph.
    """

    names: tuple[str, ...]
    tensors: dict[str, tf.Tensor]
    variables: list[LocalVariable]
    graph: tf.Graph = field(repr=False)
    _due: bool = field(default=True, init=False)

    def begin_after(self) -> None:
        """Let all counts begin anew with the next step."""
        self._due = True

    def before_steps(self) -> None:
        """Let all counts begin anew, if that is due."""
        if self._due:
            self._begin()

    def _begin(self) -> None:
        self._due = False
        for each in self.variables:
            for part in local_parts(each.variable):
                part.assign(each.initial)

    @contextlib.contextmanager
    def counting_anew(self) -> Iterator[None]:
        """Let all counts begin anew for the block, and put those from before it back: an evaluation while training."""
        parts = [part for each in self.variables for part in local_parts(each.variable)]
        before = [part.numpy() for part in parts]
        self._begin()
        try:
            yield
        finally:
            for part, value in zip(parts, before, strict=True):
                part.assign(value)

    def with_values(self, scalars: Mapping[str, Any], collective: Collective | None = None) -> dict[str, Any]:
        """Return log values in their order: scalars, and the values of metrics over what was counted so far.

        Args:
            scalars: the other values.
            collective: the workers, all of which call this; without it, what this worker has counted.

        Returns:
            Floats, and arrays where a metric gives no scalar.
        """
        if not self.tensors:
            return dict(scalars)
        with self._added_up(collective):
            values = dict(zip(self.tensors, (each.numpy() for each in self._read()), strict=True))
        read = {name: float(value) if not np.ndim(value) else value for name, value in values.items()}
        return {name: read[name] if name in read else scalars[name] for name in self.names if name in {*read, *scalars}}

    @functools.cached_property
    def _read(self) -> Callable[[], list[tf.Tensor]]:
        """The function that computes the metrics from the counts."""
        tensors = list(self.tensors.values())
        outer = {inner.op.name: handle for handle, inner in func_graph.captures(self.graph)}
        return cut_out(self.graph, tensors, ancestors(tensors, ordered=False), outer)

    @contextlib.contextmanager
    def _added_up(self, collective: Collective | None) -> Iterator[None]:
        """Put the counts of all replicas and workers into the first replica for the block."""
        several = collective is not None and collective.world_size > 1
        if not several and not any(parts_of(each.variable) for each in self.variables):
            yield
            return
        parts = [local_parts(each.variable) for each in self.variables]
        before = [[part.numpy() for part in own] for own in parts]
        added = [
            sum((value.astype(np.float64) - each.initial for value in values), np.zeros(each.initial.shape))
            for each, values in zip(self.variables, before, strict=True)
        ]
        if several and collective is not None:
            flat = np.concatenate([np.ravel(each) for each in added])
            flat = collective.all_gather(flat.tolist()).sum(axis=0)
            ends = np.cumsum([each.size for each in added])
            added = [part.reshape(each.shape) for part, each in zip(np.split(flat, ends[:-1]), added, strict=True)]
        for each, own, total in zip(self.variables, parts, added, strict=True):
            own[0].assign(tf.cast(each.initial + total, each.variable.dtype))
            for other in own[1:]:
                other.assign(each.initial)
        try:
            yield
        finally:
            for own, values in zip(parts, before, strict=True):
                for part, value in zip(own, values, strict=True):
                    part.assign(value)


def count_present_only(variables: Sequence[LocalVariable], present: tf.Tensor) -> None:
    """Take back what replicas without samples of their own have counted: they were fed those of another.

    Args:
        variables: what metrics count in.
        present: which replicas have samples, bool [replicas].
    """
    for each in variables:
        for number, (part, before) in enumerate(zip(parts_of(each.variable), each.before, strict=True)):
            part.assign(tf.where(present[number], part.read_value(), before))


def check_additive(graph: tf.Graph, variables: Sequence[LocalVariable]) -> None:
    """Refuse metrics of which several replicas or workers would each have their own, which cannot be added up.

    Raises:
        UsageError: with the name of the variable.
    """
    inner = {id(handle): placeholder for handle, placeholder in func_graph.captures(graph)}
    counting = [(each, inner[handle]) for each in variables for handle in handles_of(each.variable) & inner.keys()]
    counts = {placeholder.op.name for _, placeholder in counting}
    for each, placeholder in counting:
        for use in placeholder.consumers():
            added = _added(use)
            if use.type in READS or (added is not None and not _depend_on(added, counts)):
                continue
            raise UsageError(
                f"a metric of model_fn keeps {each.variable.name.partition(':')[0]!r}, which is no sum over "
                "samples: those of several devices and workers cannot be added up. Evaluate on one device, or "
                "write the metric with assign_add, of values that depend on the samples alone."
            )


def _added(use: tf.Operation) -> list[tf.Tensor] | None:
    """Return what an operation adds to a variable, nothing where it puts it back to a constant; None for others."""
    if use.type in _ADDING:
        return list(use.inputs[1:])
    if use.type != "AssignVariableOp":
        return None
    handle, value = use.inputs[0], use.inputs[1].op
    while value.type in _CASTS:
        value = value.inputs[0].op
    if value.type == "Const":
        return []
    own = [each for each in value.inputs if _reads(each.op, handle)] if value.type in _SUMS else []
    return [each for each in value.inputs if each is not own[0]] if own else None


def _depend_on(tensors: Sequence[tf.Tensor], names: set[str]) -> bool:
    """Whether tensors are computed from operations with some names."""
    return any(op.name in names for op in ancestors(tensors, ordered=False))


def _reads(op: tf.Operation, handle: tf.Tensor) -> bool:
    while op.type in _CASTS:
        op = op.inputs[0].op
    return op.type == "ReadVariableOp" and op.inputs[0].name == handle.name
