"""Layers of which the flags leave nothing to train stand still: their batch normalization, too.

Such a layer normalizes by its moving averages, and these stay as they are, as a layer of Keras with `trainable = False`
does. That goes for the layers of Keras and tf_keras, with those of TF1 and slim, by `keras_batch_norm`; and for
`tf.compat.v1.nn.fused_batch_norm`, of which the graph knows which variables its results go to. What else changes
averages of such a layer is named in a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import frozen

from mox_core.engine.tf_internals import func_graph
from mox_core.engine.tf_internals.variables import local_parts
from mox_core.engine.variables.store import HELD, READS
from mox_core.name_lists import counted
from mox_core.user_code import user_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mox_core.engine.variables.store import VariableStore
    from mox_core.name_filter import NameFilter

_BATCH_NORM: Final = "FusedBatchNormV3"
_MEAN, _VARIANCE = 1, 2
"""The places of the moments of the batch among the results of the operation."""
_ASSIGN: Final = ("AssignVariableOp", "AssignSubVariableOp", "AssignAddVariableOp")


def is_frozen(trainable: NameFilter, parameters: Sequence[str], averages: Sequence[str]) -> bool:
    """Return whether a layer of batch normalization stands still.

    Args:
        trainable: what the flags choose.
        parameters: the names of what it trains; a layer without any goes by its averages.
        averages: the names of its moving averages.
    """
    return not any(map(trainable, parameters or averages))


def hold_batch_norms(graph: Any, store: VariableStore, trainable: NameFilter) -> None:
    """Make the batch normalization of frozen layers in a graph that of inference, and keep their averages from moving.

    The operations that would have moved them are left in the collection `HELD`.
    """
    names = {id(part.handle): name for name, each in store.by_name.items() for part in local_parts(each)}
    outside = {inner.op.name: outer for outer, inner in func_graph.captures(graph)}
    for op in [each for each in graph.get_operations() if each.type == _BATCH_NORM and each.get_attr("is_training")]:
        layer = _Layer(op, outside, names)
        if layer.averages and is_frozen(trainable, layer.parameters, layer.averages):
            layer.hold(graph)
    _warn_of_others(graph, store, trainable)


@frozen
class _Layer:
    """A batch normalization in a graph.

    Attributes:
        op: the operation.
    """

    op: Any
    _outside: dict[str, Any]
    _names: dict[int, str]

    @property
    def parameters(self) -> list[str]:
        """The names of scale and offset, where these are variables."""
        return [name for value in self.op.inputs[1:3] if (name := self._name(_handle(value)))]

    @property
    def averages(self) -> list[str]:
        """The names of its moving averages; empty where they cannot be found."""
        assigned = [self._assignments(place)[:1] for place in (_MEAN, _VARIANCE)]
        found = [self._name(op.inputs[0]) for ops in assigned for op in ops]
        return found if all(assigned) and all(found) else []

    def hold(self, graph: Any) -> None:
        """Put an operation of inference in the place of this one."""
        op, assignments = self.op, {place: self._assignments(place) for place in (_MEAN, _VARIANCE)}
        dtype = op.outputs[_MEAN].dtype
        with graph.as_default(), tf.device(op.device), tf.compat.v1.name_scope(f"{op.name}/frozen/"):
            mean, variance = (
                tf.raw_ops.ReadVariableOp(resource=ops[0].inputs[0], dtype=dtype) for ops in assignments.values()
            )
            result = tf.raw_ops.FusedBatchNormV3(
                x=op.inputs[0],
                scale=op.inputs[1],
                offset=op.inputs[2],
                mean=mean,
                variance=variance,
                epsilon=op.get_attr("epsilon"),
                data_format=op.get_attr("data_format").decode(),
                is_training=False,
            )[0]
        for old, new in zip(op.outputs, (result, mean, variance), strict=False):
            func_graph.replace_tensor(old, new)
        for held in (*assignments[_MEAN], *assignments[_VARIANCE]):
            graph.add_to_collection(HELD, held)

    def _assignments(self, place: int) -> list[Any]:
        """Return the operations that assign what becomes of a moment."""
        return [each for each in _followers(self.op.outputs[place]) if each.type in _ASSIGN]

    def _name(self, handle: Any) -> str:
        outer = None if handle is None else self._outside.get(handle.op.name)
        return self._names.get(id(outer), "")


def _handle(value: Any) -> Any:
    """Return the handle of the variable that a value is read from, None for none."""
    while value.op.type in {"Identity", "Cast", "Reshape"}:
        value = value.op.inputs[0]
    return value.op.inputs[0] if value.op.type == "ReadVariableOp" else None


def _followers(tensor: Any) -> Iterator[Any]:
    """Yield the operations that a tensor of a small vector goes to, up to those that assign it."""
    seen, waiting = set(), list(tensor.consumers())
    while waiting:
        op = waiting.pop(0)
        if op.name in seen or op.type == _BATCH_NORM:
            continue
        seen.add(op.name)
        yield op
        if op.type not in _ASSIGN:
            waiting.extend(consumer for output in op.outputs for consumer in output.consumers())


def _warn_of_others(graph: Any, store: VariableStore, trainable: NameFilter) -> None:
    """Warn of averages of frozen layers that something else moves, in each step."""
    held = {op.name for op in graph.get_collection(HELD)}
    inner = {id(outer): placeholder for outer, placeholder in func_graph.captures(graph)}
    folders: dict[str, list[str]] = {}
    for variable in graph.get_collection(tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES):
        name = variable.name.partition(":")[0]
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    found = []
    for name, variable in store.by_name.items():
        beside = folders.get(name.rpartition("/")[0], [])
        if variable.trainable or not variable.dtype.is_floating or not is_frozen(trainable, beside, [name]):
            continue
        handles = [inner[id(part.handle)] for part in local_parts(variable) if id(part.handle) in inner]
        moving = [op for handle in handles for op in handle.consumers() if op.type not in READS and op.name not in held]
        found += [f"{name} ({user_line(op.traceback)})" for op in moving[:1]]
    if found:
        tf.get_logger().warning(
            "The flags leave nothing to train of layers whose averages or counts model_fn changes all the same: %s. "
            "mox keeps the batch normalization of Keras, of tf.compat.v1.layers, of slim and of "
            "tf.compat.v1.nn.fused_batch_norm as it is; what else is to stay as it is has to be built with "
            "training=False.",
            counted(found, 3),
        )
