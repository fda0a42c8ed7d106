"""What an optimizer with code of its own takes from `model_fn`: a loss that it adds to the one that it is given, say.

The gradients that it is given are means over all replicas and workers, and over the steps that a wrapper puts together.
What it takes besides is used as it is, so it has to be the same everywhere: a function of the weights alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.tf_internals import func_graph
from mox_core.errors import UsageError
from mox_core.user_code import user_line

if TYPE_CHECKING:
    from collections.abc import Iterable


@frozen(kw_only=True)
class Surroundings:
    """Where an optimizer is applied.

    Attributes:
        graph: the graph of the step.
        foreign: the ids of the handles of what other replicas train.
        several: whether the gradients are means over several replicas or workers.
        branches: in how many branches of the graph it is applied where no wrapper puts steps together.
    """

    graph: tf.Graph
    foreign: frozenset[int]
    several: bool
    branches: int


@define
class Borrowed:
    """The tensors that an optimizer takes from outside.

    Args:
        where: where it is applied.
        given: what it is given: it may use that.
    """

    _where: Surroundings
    _given: Iterable[tf.Tensor]
    _present: Any = field(factory=tf.compat.v1.get_default_graph, init=False)
    _before: int = field(init=False)
    _outside: dict[int, dict[str, tf.Tensor]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._before = len(self._present.get_operations())

    def check(self, kind: str) -> None:
        """Refuse what is not the same everywhere, when the optimizer has been applied.

        Args:
            kind: the class of the optimizer, for the error.

        Raises:
            UsageError: with the line that takes it, and the line that has made it.
        """
        new = self._present.get_operations()[self._before :]
        own = {op.name for op in new}
        given = {_key(each) for each in self._given}
        for op in new:
            for tensor in op.inputs:
                taken = self._source(tensor, given)
                if taken is None or (taken is tensor and tensor.op.name in own):
                    continue
                if taken.dtype.is_floating or taken.dtype.is_complex:
                    self._check(taken, op, kind)

    def _check(self, tensor: tf.Tensor, by: tf.Operation, kind: str) -> None:
        handles, of_samples = self._depends_on(tensor)
        if of_samples and self._where.several:
            why = (
                "that depends on the samples of one replica, and would not be averaged over all of them. Add it to "
                "the loss that model_fn returns"
            )
        elif handles & self._where.foreign:
            why = (
                "that is one of another replica: a variable of Python holds what the last call of model_fn has left "
                "there. Put it into a collection by tf.compat.v1.add_to_collection, and take it out of it by "
                "mox.get_collection: each replica has its own"
            )
        elif of_samples and self._depth() > self._where.branches:
            why = (
                "that depends on the samples of the last of the steps whose gradients are applied as one, and would "
                "leave out those of the others. Add it to the loss that model_fn returns"
            )
        else:
            return
        raise UsageError(
            f"{kind} ({user_line(by.traceback)}) uses a tensor that model_fn has made "
            f"({user_line(tensor.op.traceback)}), and {why}."
        )

    def _depth(self) -> int:
        """Return in how many branches of the graph of the step the present graph is."""
        depth, graph = 0, self._present
        while graph is not None and graph is not self._where.graph:
            depth, graph = depth + 1, getattr(graph, "outer_graph", None)
        return depth

    def _depends_on(self, tensor: tf.Tensor) -> tuple[set[int], bool]:
        """Return the ids of the handles of the variables that a tensor is computed from, and whether samples are."""
        waiting, seen, handles, of_samples = [tensor], set(), set(), False
        while waiting:
            each = waiting.pop()
            if _key(each) in seen:
                continue
            seen.add(_key(each))
            outer = self._outer(each)
            if outer is not None and tf.is_symbolic_tensor(outer):
                waiting.append(outer)
            elif outer is not None:
                handles.add(id(outer))
            elif each.op.type == "Placeholder":
                of_samples = True
            else:
                waiting += each.op.inputs
        return handles, of_samples

    def _source(self, tensor: tf.Tensor, given: set[tuple[int, str]]) -> tf.Tensor | None:
        """Return the tensor behind placeholders of branches; None for what the optimizer is given, and constants."""
        while _key(tensor) not in given:
            outer = self._outer(tensor)
            if outer is None:
                return tensor
            if not tf.is_symbolic_tensor(outer):
                return None
            tensor = outer
        return None

    def _outer(self, tensor: tf.Tensor) -> tf.Tensor | None:
        """Return what a placeholder of a graph stands for, None where it is no such placeholder."""
        graph: Any = tensor.graph
        if id(graph) not in self._outside:
            self._outside[id(graph)] = {inner.name: outer for outer, inner in func_graph.captures(graph)}
        return self._outside[id(graph)].get(tensor.name)


def _key(tensor: tf.Tensor) -> tuple[int, str]:
    return id(tensor.graph), tensor.name
