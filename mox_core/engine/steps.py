"""How steps are run: many in one compiled call, or one with something special about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from mox_core.engine.inputs import OpenInput
    from mox_core.engine.modelgraph import ModelGraph


@frozen(kw_only=True)
class Outcome:
    """What a call of one or more steps has done.

    Attributes:
        steps: how many steps ran; fewer than asked for where the input ended or a loss was not finite.
        samples: how many samples they saw.
        values: what the last step gave: 'losses', 'log', 'outputs', 'learning_rate'; None where no step ran.
        sums: for each name of `log_info`, the sum of value times samples over the steps.
        finite: whether every loss was.
        ended: whether the input has no further batch.
        fetched: what was asked for beside the values, by `Steps.one`.
    """

    steps: int
    samples: int
    values: dict[str, Any] | None
    sums: dict[str, float]
    finite: bool = True
    ended: bool = False
    fetched: Any = None


@define
class Steps:
    """Runs the steps of a graph on an input.

    Attributes:
        graph: the graph of the mode.
        input: gives (positions, inputs).
    """

    graph: ModelGraph
    input: OpenInput
    _many: Callable[..., Any] | None = field(default=None, init=False)
    _special: dict[Any, Callable[..., Any]] = field(factory=dict, init=False)
    last_inputs: tuple[Any, ...] | None = field(default=None, init=False)

    def many(self, count: int) -> Outcome:
        """Runs up to `count` steps in one compiled call."""
        if self._many is None:
            self._many = _compile(self.graph, endless=self.input.endless)
        steps, more, finite, values, sums, samples = self._many(self.input.iterator, tf.constant(count, tf.int64))
        steps = int(steps)
        return Outcome(
            steps=steps,
            samples=int(samples),
            values=tf.nest.map_structure(_array, values) if steps else None,
            sums={name: float(total) for name, total in sums.items()},
            finite=bool(finite),
            ended=not bool(more),
        )

    def one(
        self, *, record: bool = False, feeds: Mapping[tf.Tensor, Any] | None = None, fetches: Any = None
    ) -> Outcome:
        """Runs one step that records summaries, is fed, or gives further tensors."""
        element = next(self.input.iterator, None)
        if element is None:
            return Outcome(steps=0, samples=0, values=None, sums={}, ended=True)
        positions, inputs = element
        self.last_inputs = (positions, tf.constant(record), *inputs)
        values, fetched = self._special_function(feeds or {}, fetches)(*self.last_inputs, *(feeds or {}).values())
        values = tf.nest.map_structure(_array, values)
        samples = int(values["samples"])
        finite = all(tf.math.is_finite(loss) for loss in values["losses"])
        sums = {name: float(value) * samples for name, value in values["log"].items()}
        return Outcome(
            steps=1,
            samples=samples,
            values=values,
            sums=sums,
            finite=finite,
            fetched=tf.nest.map_structure(_array, fetched),
        )

    def evaluate(self, fetches: Any, feeds: Mapping[tf.Tensor, Any] | None = None) -> Any:
        """Computes tensors on the inputs of the last single step, without running the step's effects."""
        inputs = self.last_inputs or tuple(_blank_inputs(self.graph.inputs))
        function = self.graph.function(list(feeds or {}), fetches, effects=False)
        return tf.nest.map_structure(_array, function(*inputs, *(feeds or {}).values()))

    def _special_function(self, feeds: Mapping[tf.Tensor, Any], fetches: Any) -> Callable[..., Any]:
        if not feeds and fetches is None:
            return lambda *inputs: (self.graph.traced(*inputs), None)
        key = (tuple(id(tensor) for tensor in feeds), tuple(id(tensor) for tensor in tf.nest.flatten(fetches)))
        if key not in self._special:
            outputs = self.graph.traced.graph.structured_outputs
            wanted = (outputs, [] if fetches is None else fetches)
            self._special[key] = self.graph.function(list(feeds), wanted, effects=True)
        return self._special[key]


def _compile(graph: ModelGraph, *, endless: bool) -> Callable[..., Any]:
    """Returns a function of (iterator, count) that runs steps in a loop on the device.

    It stops at the end of the input or when a loss is not finite, and carries the values of the last step.
    """
    blank = tf.nest.map_structure(_blank, graph.traced.structured_outputs)

    def step(element: tuple[tf.Tensor, Sequence[tf.Tensor]]) -> dict[str, Any]:
        positions, inputs = element
        return graph.traced(positions, tf.constant(False), *inputs)

    def run(iterator: Any, count: tf.Tensor) -> Any:
        def proceed(done: tf.Tensor, more: tf.Tensor, finite: tf.Tensor, *_: Any) -> tf.Tensor:
            return (done < count) & more & finite

        def body(
            done: tf.Tensor, _more: tf.Tensor, _finite: tf.Tensor, last: Any, sums: Any, samples: tf.Tensor
        ) -> Any:
            def go(element: Any) -> Any:
                values = step(element)
                weight = tf.cast(values["samples"], tf.float64)
                total = {
                    name: sums[name] + tf.cast(value, tf.float64) * weight for name, value in values["log"].items()
                }
                finite = tf.reduce_all(tf.math.is_finite(values["losses"])) if values["losses"] else tf.constant(True)
                return done + 1, tf.constant(True), finite, values, total, samples + values["samples"]

            if endless:
                return go(next(iterator))
            element = iterator.get_next_as_optional()
            return tf.cond(
                element.has_value(),
                lambda: go(element.get_value()),
                lambda: (done, tf.constant(False), tf.constant(True), last, sums, samples),
            )

        zero = tf.constant(0, tf.int64)
        sums = {name: tf.constant(0, tf.float64) for name in blank["log"]}
        start = (zero, tf.constant(True), tf.constant(True), tf.nest.map_structure(tf.identity, blank), sums, zero)
        shapes = tf.nest.map_structure(lambda tensor: tensor.shape, start)
        given = tf.nest.map_structure(lambda tensor: tensor.shape, graph.traced.structured_outputs)
        shapes = (*shapes[:3], given, *shapes[4:])
        return tf.while_loop(proceed, body, start, shape_invariants=shapes)

    return tf.function(run, autograph=False)


def _blank(tensor: tf.Tensor) -> tf.Tensor:
    return tf.zeros([] if tensor.shape.rank is None else [size or 0 for size in tensor.shape], tensor.dtype)


def _blank_inputs(inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    return [_blank(tensor) for tensor in inputs]


def _array(value: Any) -> np.ndarray[Any, Any]:
    return value.numpy() if tf.is_tensor(value) else value
