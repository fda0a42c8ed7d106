"""The loop on the device: many steps in one call.

Each variable of a TensorFlow loop costs several operations a step, which small models notice: numbers are carried as
one vector, and what is the same in every step is not carried at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.typed import blank
from mox_core.modes import ModeKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.engine.inputs import OpenInput
    from mox_core.engine.modelgraph import ModelGraph
    from mox_core.engine.workers import Peers


def compile_loop(graph: ModelGraph, source: OpenInput, peers: Peers) -> Callable[..., dict[str, tf.Tensor]]:
    """Returns a function of (iterator, positions before, count) that runs up to `count` steps.

    It stops early at the end of the input or when a loss is not finite. Of workers that step together, all stop at the
    end of the input of the first. It gives a dict:
        done: how many steps ran.
        numbers, outputs: those of the last step.
        sums: the sum of numbers times samples, float64, where the mode is not TRAIN.
        samples: how many samples the steps saw, where batches differ.
        more: whether the input went on, where it can end.
    """
    losses, fixed = len(graph.losses), graph.samples is not None
    sums, counted = graph.mode != ModeKeys.TRAIN, source.stride is not None
    specs = graph.traced.structured_outputs

    one = graph.step()

    def step(state: dict[str, Any], element: Any, before: tf.Tensor, late: Sequence[tf.Tensor]) -> dict[str, Any]:
        if counted:
            positions, inputs = before + source.stride * (state["done"] + 1), element
        else:
            positions, inputs = element
        values = one(positions, tf.constant(False), *inputs, late=late)
        after = {**state, "done": state["done"] + 1, "numbers": values["numbers"], "outputs": values["outputs"]}
        if sums:
            after["sums"] += tf.cast(values["numbers"], tf.float64) * tf.cast(values["samples"], tf.float64)
        if not fixed:
            after["samples"] += values["samples"]
        return after

    def run(iterator: Any, before: tf.Tensor, count: tf.Tensor) -> dict[str, Any]:
        late = graph.late_values()

        def proceed(state: dict[str, Any]) -> tf.Tensor:
            go_on = state["done"] < count
            if losses and peers.together:
                go_on &= tf.reduce_all(tf.math.is_finite(state["numbers"][:losses]))
            return go_on if source.endless else go_on & state["more"]

        def body(state: dict[str, Any]) -> list[dict[str, Any]]:
            if source.endless:
                return [step(state, next(iterator), before, late)]
            # An input that ends with an error would leave the step before half done.
            element = iterator.get_next_as_optional()
            ended = {**state, "more": tf.constant(False)}
            more = element.has_value() if sums else _everywhere(element.has_value(), peers)
            return [tf.cond(more, lambda: step(state, element.get_value(), before, late), lambda: ended)]

        start = {
            "done": tf.constant(0, tf.int64),
            "numbers": blank(specs["numbers"]),
            "outputs": {name: blank(spec) for name, spec in specs["outputs"].items()},
        }
        start |= {} if source.endless else {"more": tf.constant(True)}
        start |= {"sums": tf.zeros(specs["numbers"].shape, tf.float64)} if sums else {}
        start |= {} if fixed else {"samples": tf.constant(0, tf.int64)}
        shapes = tf.nest.map_structure(lambda tensor: tensor.shape, start)
        shapes["outputs"] = {name: spec.shape for name, spec in specs["outputs"].items()}
        return tf.while_loop(proceed, body, [start], shape_invariants=[shapes])[0]

    before, count = tf.TensorSpec(graph.inputs[0].shape, tf.int64), tf.TensorSpec([], tf.int64)
    # Concrete at once: a tf.function would count each run of the process as one more retracing, and warn.
    return tf.function(run, autograph=False).get_concrete_function(source.iterator, before, count)


def _everywhere(condition: tf.Tensor, peers: Peers) -> tf.Tensor:
    """Whether a condition holds on all workers."""
    if peers.number == 1:
        return condition
    (count,) = peers.sum([tf.cast(condition, tf.float32)])
    return tf.equal(count, peers.number)
