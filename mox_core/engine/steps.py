"""How steps are run: many in one compiled call, or one with something special about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine import compiled
from mox_core.engine.typed import blank
from mox_core.engine.workers import Alone
from mox_core.modes import ModeKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from mox_core.engine.inputs import OpenInput
    from mox_core.engine.modelgraph import ModelGraph
    from mox_core.engine.workers import Peers


@frozen(kw_only=True)
class Outcome:
    """What a call of one or more steps has done.

    Attributes:
        steps: how many steps ran; fewer than asked for where the input ended or a loss was not finite.
        samples: how many samples they saw.
        values: what the last step gave: 'losses', 'log', 'outputs', 'learning_rate'; None where no step ran.
        sums: for each name of `log_info`, the sum of value times samples over the steps.
        ended: whether the input has no further batch.
        fetched: what was asked for beside the values, by `Steps.one`.
    """

    steps: int
    samples: int
    values: dict[str, Any] | None
    sums: dict[str, float]
    ended: bool = False
    fetched: Any = None


@define
class Steps:
    """Runs the steps of a graph on an input.

    Attributes:
        graph: the graph of the mode.
        input: gives (positions, inputs).
        peers: the workers of the run.
    """

    graph: ModelGraph
    input: OpenInput
    peers: Peers = field(factory=Alone)
    _many: Callable[..., Any] | None = field(default=None, init=False)
    _special: dict[Any, tuple[Any, Callable[..., Any]]] = field(factory=dict, init=False)
    last_inputs: tuple[Any, ...] | None = field(default=None, init=False)

    def many(self, count: int) -> Outcome:
        """Runs up to `count` steps in one compiled call."""
        if self._many is None:
            self._many = compiled.compile_loop(self.graph, self.input, self.peers)
        result = self._many(self.input.iterator, self.input.positions(), tf.constant(count, tf.int64))
        result = tf.nest.map_structure(_array, result)
        steps = int(result["done"])
        self.input.advance(steps)
        values = self.graph.values_of(result["numbers"], result["outputs"]) if steps else None
        samples = int(result["samples"]) if self.graph.samples is None else steps * self.graph.samples
        sums = self.graph.values_of(result["sums"], {})["log"] if "sums" in result else {}
        return Outcome(steps=steps, samples=samples, values=values, sums=sums, ended=not result.get("more", True))

    def one(
        self, *, record: bool = False, feeds: Mapping[tf.Tensor, Any] | None = None, fetches: Any = None
    ) -> Outcome:
        """Runs one step that records summaries, is fed, or gives further tensors."""
        element = self.input.next()
        if not self._all_have(element):
            return Outcome(steps=0, samples=0, values=None, sums={}, ended=True)
        positions, inputs = element
        self.last_inputs = (positions, tf.constant(record), *inputs)
        result, fetched = self._special_function(feeds or {}, fetches)(*self.last_inputs, *(feeds or {}).values())
        result = tf.nest.map_structure(_array, result)
        values, samples = self.graph.values_of(result["numbers"], result["outputs"]), int(result["samples"])
        return Outcome(
            steps=1,
            samples=samples,
            values=values,
            sums={name: float(value) * samples for name, value in values["log"].items()},
            fetched=tf.nest.map_structure(_array, fetched),
        )

    def _all_have(self, element: Any) -> TypeGuard[tuple[Any, ...]]:
        """Whether there is an element; with workers that step together, whether each of them has one."""
        if self.input.endless or self.graph.mode != ModeKeys.TRAIN:
            return element is not None
        return bool(self.peers.gather([element is not None]).all())

    def evaluate(self, fetches: Any, feeds: Mapping[tf.Tensor, Any] | None = None) -> Any:
        """Computes tensors on the inputs of the last single step, without running the step's effects."""
        inputs = self.last_inputs or tuple(blank(tensor) for tensor in self.graph.inputs)
        function = self._function(feeds or {}, fetches, effects=False)
        return tf.nest.map_structure(_array, function(*inputs, *(feeds or {}).values()))

    def _special_function(self, feeds: Mapping[tf.Tensor, Any], fetches: Any) -> Callable[..., Any]:
        if not feeds and fetches is None:
            return lambda *inputs: (self.graph.traced(*inputs), None)
        wanted = (self.graph.traced.graph.structured_outputs, [] if fetches is None else fetches)
        return self._function(feeds, wanted, effects=True)

    def _function(self, feeds: Mapping[tf.Tensor, Any], fetches: Any, *, effects: bool) -> Callable[..., Any]:
        """Returns a function of the graph that is made once: a hook may ask for the same tensors in every step."""
        asked = (*feeds, *tf.nest.flatten(fetches))
        key = (effects, len(feeds), *map(id, asked), str(tf.nest.map_structure(lambda _: 0, fetches)))
        if key not in self._special:
            # With what was asked for: an id is no name once its object is gone.
            self._special[key] = asked, self.graph.function(list(feeds), fetches, effects=effects)
        return self._special[key][1]


def _array(value: Any) -> np.ndarray[Any, Any]:
    return value.numpy() if tf.is_tensor(value) else value
