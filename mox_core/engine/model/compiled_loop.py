"""The loop on the device: many steps in one compiled call.

Each variable of a TensorFlow loop costs several operations a step, which small models notice: numbers are carried as
one vector, and what is the same in every step is not carried at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import field, frozen

from mox_core.engine.distribute.collectives import Collective, SingleProcess
from mox_core.engine.tensors import zeros_of_spec
from mox_core.modes import ModeKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mox_core.engine.model.model_graph import ModelGraph

    State = dict[str, Any]


@frozen(kw_only=True)
class CompiledLoop:
    """A loop of steps, to be built into a graph.

    Attributes:
        graph: the graph of the mode.
        endless: whether the input never ends.
        stride: how far each element moves the positions; None where elements are (positions, inputs).
        collective: the workers. Those that step together all stop at the end of the input of the first.
        step: function of (positions, record, *inputs, deferred=...) that runs a step.
        outputs: specs of the outputs that `step` gives.
        collects: whether the outputs of all steps of a call are kept.
        gap_widths: for loops whose positions the host needs: how far apart the positions of two elements are where no
            sample is left out, int64 [sources]. None for other loops.
    """

    graph: ModelGraph
    endless: bool
    stride: int | None
    collective: Collective = field(factory=SingleProcess)
    step: Callable[..., dict[str, Any]]
    outputs: Mapping[str, tf.TensorSpec]
    collects: bool = False
    gap_widths: Sequence[int] | None = None

    def compile(self, iterator: Any) -> Callable[..., dict[str, Any]]:
        """Return a function of (iterator, positions before, count, record, sums) that runs steps: see `build`."""
        before, count = tf.TensorSpec(self.graph.inputs[0].shape, tf.int64), tf.TensorSpec([], tf.int64)
        # Steps that record summaries and the others go through one function: two might be optimized in two ways, and
        # round in two ways. Where there are no summaries, nothing asks for it.
        record = tf.TensorSpec([], tf.bool)
        sums = tf.TensorSpec(self.graph.results["numbers"].shape, tf.float64)
        # Concrete at once: a tf.function would count each run of the process as one more retracing, and warn.
        return tf.function(self.build, autograph=False).get_concrete_function(iterator, before, count, record, sums)

    def build(
        self,
        iterator: Any,
        before: tf.Tensor,
        count: tf.Tensor,
        record: tf.Tensor | None = None,
        sums: tf.Tensor | None = None,
    ) -> dict[str, Any]:
        """Add the loop to the graph that is being traced. It stops early where a loss is not finite.

        Args:
            iterator: gives the input.
            before: the positions before its next element, int64 [sources].
            count: how many steps at most, int64 scalar.
            record: whether the steps record summaries, bool scalar; none does, if not given.
            sums: those of the steps before; not read in TRAIN. Added up step by step they are the same however many
                steps a call has.

        Returns:
            done: how many steps ran.
            numbers, outputs: those of the last step.
            collected: lists of the outputs of all steps by name, see `item_of`, with collects.
            sums: the sum over the steps so far of numbers times samples, float64, where the mode is not TRAIN.
            samples: how many samples the steps saw.
            more: whether the input goes on.
            positions: those behind the last element, with gap_widths.
            gaps: pairs of positions between which samples are missing, int64 [gaps, 2, sources], with gap_widths.
        """
        deferred = self.graph.deferred_captures()

        def step(state: State, element: Any) -> State:
            # What a loop reads from outside is one of its variables: a constant is made inside.
            recorded = tf.constant(False) if record is None or not self.graph.has_summaries else record
            return self._step(state, element, before, recorded, deferred)

        def body(state: State) -> list[State]:
            if self.endless:
                return [step(state, next(iterator))]
            # An input that ends with an error would leave the step before half done.
            element = iterator.get_next_as_optional()
            ended = {**state, "more": tf.constant(False)}
            has_value = self._on_all_workers(element.has_value())
            return [tf.cond(has_value, lambda: step(state, element.get_value()), lambda: ended)]

        start = self._start(before, sums)
        shapes = tf.nest.map_structure(lambda tensor: tensor.shape, start)
        shapes["outputs"] = {name: spec.shape for name, spec in self.outputs.items()}
        if "gaps" in start:
            shapes["gaps"] = tf.TensorShape([None, *start["gaps"].shape[1:]])
        most = tf.cast(tf.minimum(count, tf.int32.max), tf.int32)  # the loop counts anyway, in this dtype
        result = tf.while_loop(self._proceeds, body, [start], shape_invariants=[shapes], maximum_iterations=most)[0]
        size = self.graph.samples
        fixed = {} if size is None else {"samples": result["done"] * size}
        return {"more": tf.constant(True), **fixed, **result}

    def _start(self, before: tf.Tensor, sums: tf.Tensor | None) -> State:
        numbers = self.graph.results["numbers"]
        state: State = {
            "done": tf.constant(0, tf.int64),
            "numbers": zeros_of_spec(numbers),
            "outputs": {name: zeros_of_spec(spec) for name, spec in self.outputs.items()},
        }
        if not self.endless:
            state["more"] = tf.constant(True)
        if self.graph.mode != ModeKeys.TRAIN:
            state["sums"] = sums
        if self.graph.samples is None:
            state["samples"] = tf.constant(0, tf.int64)
        if self.collects:
            state["collected"] = {name: _no_items(spec.dtype) for name, spec in self.outputs.items()}
        if self.gap_widths is not None:
            state |= {"positions": before, "gaps": tf.zeros([0, 2, before.shape[0]], tf.int64)}
        return state

    def _proceeds(self, state: State) -> tf.Tensor:
        """Whether nothing but the number of steps ends the loop."""
        proceeds = tf.constant(True)
        if self.graph.losses and self.collective.synchronous:
            proceeds = tf.reduce_all(tf.math.is_finite(state["numbers"][: len(self.graph.losses)]))
        return proceeds if self.endless else proceeds & state["more"]

    def _step(
        self, state: State, element: Any, before: tf.Tensor, record: tf.Tensor, deferred: Sequence[tf.Tensor]
    ) -> State:
        if self.stride is None:
            positions, inputs = element
        else:
            positions, inputs = before + self.stride * (state["done"] + 1), element
        values = self.step(positions, record, *inputs, deferred=deferred)
        after = {**state, "done": state["done"] + 1, "numbers": values["numbers"]}
        after["outputs"] = {name: values["outputs"][name] for name in self.outputs}
        if "sums" in state:
            after["sums"] += tf.cast(values["numbers"], tf.float64) * tf.cast(values["samples"], tf.float64)
        if "samples" in state:
            after["samples"] += values["samples"]
        if self.collects:
            lists = state["collected"].items()
            after["collected"] = {name: _with_item(items, after["outputs"][name]) for name, items in lists}
        if self.gap_widths is not None:
            gaps = _with_gap(state["gaps"], state["positions"], positions, self.gap_widths)
            after |= {"positions": positions, "gaps": gaps}
        return after

    def _on_all_workers(self, condition: tf.Tensor) -> tf.Tensor:
        """Whether a condition holds on all workers, where they train in step."""
        if self.collective.world_size == 1 or self.graph.mode != ModeKeys.TRAIN:
            return condition
        (count,) = self.collective.all_reduce_sum([tf.cast(condition, tf.float32)])
        return tf.equal(count, self.collective.world_size)


def _with_gap(gaps: tf.Tensor, before: tf.Tensor, after: tf.Tensor, widths: Sequence[int]) -> tf.Tensor:
    """Append the positions before and after an element if they are too far from each other."""
    if not widths:
        return gaps
    missing = tf.reduce_any(after - before > tf.constant(widths, tf.int64))
    pair = tf.stack([before, after])[tf.newaxis]
    return tf.cond(missing, lambda: tf.concat([gaps, pair], 0), lambda: gaps)


def _no_items(dtype: tf.DType) -> tf.Tensor:
    """Return a list of tensors of any shapes: the last batch of an input may be smaller."""
    return tf.raw_ops.EmptyTensorList(element_shape=-1, max_num_elements=-1, element_dtype=dtype)


def _with_item(items: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.TensorListPushBack(input_handle=items, tensor=tensor)


def item_of(items: tf.Tensor, number: int, dtype: tf.DType) -> tf.Tensor:
    """Return one of the tensors that a loop has collected."""
    return tf.raw_ops.TensorListGetItem(input_handle=items, index=number, element_shape=-1, element_dtype=dtype)


def graph_loop(
    graph: ModelGraph, *, endless: bool, stride: int | None, collective: Collective, collects: bool = False
) -> CompiledLoop:
    """Return the loop of a graph in this process; for its arguments see `CompiledLoop`."""
    return CompiledLoop(
        graph=graph,
        endless=endless,
        stride=stride,
        collective=collective,
        step=graph.step(),
        outputs=graph.results["outputs"],
        collects=collects,
    )
