"""The steps of a graph: many in one compiled call, or one with feeds or fetches."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np
import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.distribute.collectives import Collective, SingleProcess
from mox_core.engine.model.compiled_loop import CompiledLoop, graph_loop, item_of
from mox_core.engine.model.replica_outputs import split_outputs
from mox_core.engine.tensors import zeros_of_spec
from mox_core.modes import ModeKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mox_core.engine.input.pipeline import OpenInput
    from mox_core.engine.model.model_graph import ModelGraph


@frozen(kw_only=True)
class Outcome:
    """What a call of one or more steps has done.

    Attributes:
        steps: how many steps ran; fewer than asked for where the input ended or a loss was not finite.
        samples: how many samples they saw.
        values: results of the last step: 'losses', 'log', 'outputs', 'learning_rate'; None where no step ran.
        ended: whether the input has no further batch.
        earlier: the outputs of the steps before the last one, each those of each replica, where they are collected.
        fetched: the values of further tensors, from `StepRunner.run_one`.
    """

    steps: int
    samples: int
    values: dict[str, Any] | None
    ended: bool = False
    earlier: Sequence[list[dict[str, Any]]] = ()
    fetched: Any = None


class Positions(Protocol):
    """Where the position of the input is kept."""

    def before(self, source: OpenInput) -> tf.Tensor:
        """Return the positions before the next element of the input, int64 [sources]."""

    def note(self, positions: tf.Tensor) -> None:
        """Keep the positions behind the last element."""


class PositionsInGraph:
    """Positions that the graph of a step assigns to a variable of the run."""

    def before(self, source: OpenInput) -> tf.Tensor:
        """Return what the input has counted."""
        return source.positions()

    def note(self, positions: tf.Tensor) -> None:
        """Do nothing: the step has assigned them."""


@define
class StepRunner:
    """The runner of the steps of a graph on an input.

    Attributes:
        graph: the graph of the mode.
        input: gives (positions, inputs).
        collective: the workers of the run.
        loop: the loop of the compiled calls; that of the graph in this process, if not given.
        positions: where the position of the input is kept.
        collects: whether calls of several steps keep the outputs of each.
    """

    graph: ModelGraph
    input: OpenInput
    collective: Collective = field(factory=SingleProcess)
    loop: CompiledLoop | None = None
    positions: Positions = field(factory=PositionsInGraph)
    collects: bool = False
    last_inputs: tuple[Any, ...] | None = field(default=None, init=False)
    _sums: np.ndarray[Any, Any] | None = field(default=None, init=False)
    _compiled: Callable[..., Any] | None = field(default=None, init=False)
    _special: dict[Any, tuple[Any, Callable[..., Any]]] = field(factory=dict, init=False)

    def run_loop(self, count: int, *, record: bool = False) -> Outcome:
        """Run up to `count` steps in one compiled call, which record summaries or not."""
        self.graph.metrics.before_steps()
        if self._compiled is None:
            source = self.input
            loop = self.loop or graph_loop(
                self.graph,
                endless=source.endless,
                stride=source.stride,
                collective=self.collective,
                collects=self.collects,
            )
            self._compiled = loop.compile(source.iterator)
        before, steps = self.positions.before(self.input), tf.constant(count, tf.int64)
        sums = self._no_sums if self._sums is None else tf.constant(self._sums)
        result = self._compiled(self.input.iterator, before, steps, tf.constant(record), sums)
        if "positions" in result:
            self.positions.note(result["positions"])
        lists: dict[str, tf.Tensor] = result.pop("collected", {})
        result = tf.nest.map_structure(_to_array, result)
        done = int(result["done"])
        self.input.advance(done)
        values = self.graph.values_of(result["numbers"], result["outputs"]) if done else None
        self._sums = result.get("sums")
        return Outcome(
            steps=done,
            samples=int(result["samples"]),
            values=values,
            ended=not result["more"],
            earlier=[self._outputs_of(lists, number) for number in range(done - 1)] if lists else (),
        )

    def run_one(
        self, *, record: bool = False, feeds: Mapping[tf.Tensor, Any] | None = None, fetches: Any = None
    ) -> Outcome:
        """Run one step that is fed, or gives further tensors."""
        element = self.input.next()
        if not self._all_have(element):
            return Outcome(steps=0, samples=0, values=None, ended=True)
        self.graph.metrics.before_steps()
        positions, inputs = element
        self.last_inputs = (positions, tf.constant(record), *inputs)
        result, fetched = self._special_function(feeds or {}, fetches)(*self.last_inputs, *(feeds or {}).values())
        self.positions.note(positions)
        result = tf.nest.map_structure(_to_array, result)
        values, samples = self.graph.values_of(result["numbers"], result["outputs"]), int(result["samples"])
        if self.graph.mode != ModeKeys.TRAIN:
            self._sums = self._sums_so_far() + result["numbers"].astype(np.float64) * samples
        return Outcome(steps=1, samples=samples, values=values, fetched=tf.nest.map_structure(_to_array, fetched))

    def log_sums(self) -> dict[str, float]:
        """Return the sum of value times samples for each name of `log_info`, over all steps; 0.0 in TRAIN."""
        return {name: float(total) for name, total in self.graph.values_of(self._sums_so_far(), {})["log"].items()}

    def _outputs_of(self, lists: Mapping[str, tf.Tensor], number: int) -> list[dict[str, Any]]:
        """Return the outputs of a step of a call, those of each replica."""
        dtypes = {name: tensor.dtype for name, tensor in self.graph.results["outputs"].items()}
        return split_outputs({name: _to_array(item_of(items, number, dtypes[name])) for name, items in lists.items()})

    def begin_anew(self, opened: OpenInput) -> None:
        """Go on with another input, and with sums of 0."""
        self.input, self._sums = opened, None

    def _sums_so_far(self) -> np.ndarray[Any, Any]:
        return self._no_sums.numpy() if self._sums is None else self._sums

    @functools.cached_property
    def _no_sums(self) -> tf.Tensor:
        """Sums of no step: TRAIN has no others, and a call of one step would notice if they were made each time."""
        return tf.zeros(self.graph.results["numbers"].shape, tf.float64)

    def evaluate(self, fetches: Any, feeds: Mapping[tf.Tensor, Any] | None = None) -> Any:
        """Compute tensors on the inputs of the last single step, without the operations that have an effect."""
        inputs = self.last_inputs or tuple(zeros_of_spec(tensor) for tensor in self.graph.inputs)
        function = self._function(feeds or {}, fetches, effects=False)
        return tf.nest.map_structure(_to_array, function(*inputs, *(feeds or {}).values()))

    def _all_have(self, element: Any) -> TypeGuard[tuple[Any, ...]]:
        """Whether there is an element; with workers that step together, whether each of them has one."""
        if self.input.endless or self.graph.mode != ModeKeys.TRAIN:
            return element is not None
        return bool(self.collective.all_gather([element is not None]).all())

    def _special_function(self, feeds: Mapping[tf.Tensor, Any], fetches: Any) -> Callable[..., Any]:
        if not feeds and fetches is None and not self.graph.set_aside:
            return lambda *inputs: (self.graph.traced(*inputs), None)
        wanted = (self.graph.results, [] if fetches is None else fetches)
        return self._function(feeds, wanted, effects=True)

    def _function(self, feeds: Mapping[tf.Tensor, Any], fetches: Any, *, effects: bool) -> Callable[..., Any]:
        """Return a function of the graph that is made once: a hook may ask for the same tensors in every step."""
        asked = (*feeds, *tf.nest.flatten(fetches))
        key = (effects, len(feeds), *map(id, asked), str(tf.nest.map_structure(lambda _: 0, fetches)))
        if key not in self._special:
            # With what was asked for: an id is no name once its object is gone.
            self._special[key] = asked, self.graph.function(list(feeds), fetches, effects=effects)
        return self._special[key][1]


def _to_array(value: Any) -> np.ndarray[Any, Any]:
    return value.numpy() if tf.is_tensor(value) else value
