"""The graph of `model_fn` in one mode, and functions that run it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field

from mox_core.engine.model.replica_outputs import split_outputs
from mox_core.engine.tf_internals import func_graph
from mox_core.network_building import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from mox_core.engine.model.metrics import Metrics
    from mox_core.engine.optimizer.gradients import Loss
    from mox_core.session_hooks import AggregativeSessionRunHook
    from mox_core.specs import ModelSpec


@define(kw_only=True)
class ModelGraph:
    """The graph of one mode.

    Attributes:
        mode: the mode that it was traced for.
        spec: the ModelSpec of the first replica.
        hooks: its hooks, and those of other replicas that do not support aggregation.
        losses: the losses of the spec; empty where it has none.
        num_replicas: how many replicas of the model it holds.
        samples: how many samples a step sees; None where batches differ.
        traced: the graph as a function of (positions, record, *inputs). It runs every operation with an effect
            (updates of weights and averages, assertions, prints) and returns a dict: 'numbers' (a vector of the losses,
            the log values and the learning rate), 'outputs' and 'samples'.
        effects: those operations.
        set_aside: assignments that are not among them. TensorFlow runs all that is stateful in a function: in that of a
            step, they must not be at all.
        moved: variables of the model that a step assigns where it does not train: states of Keras's layers, say.
        inputs: the placeholders of (positions, record, *inputs).
        learning_rate: the learning rate of the first optimizer, None without one.
        log_names: the names under 'log'.
        metrics: log values beside them, which are read from the counts of all steps.
        has_summaries: whether `model_fn` makes summaries of its own.
    """

    mode: str
    spec: ModelSpec
    hooks: tuple[AggregativeSessionRunHook, ...]
    losses: tuple[Loss, ...]
    learning_rate: tf.Tensor | None
    log_names: tuple[str, ...]
    metrics: Metrics
    num_replicas: int
    samples: int | None
    has_summaries: bool
    effects: tuple[tf.Operation, ...]
    set_aside: tuple[tf.Operation, ...]
    moved: tuple[tf.Variable, ...]
    inputs: tuple[tf.Tensor, ...]
    traced: Any = field(repr=False)

    @property
    def graph(self) -> tf.Graph:
        """The graph itself, for hooks that name its tensors."""
        return self.traced.graph

    @property
    def networks(self) -> list[tuple[str, str]]:
        """The networks that `model_fn` got by their names, each with the scope of its variables."""
        return self.graph.get_collection(NETWORKS)

    @property
    def results(self) -> dict[str, Any]:
        """The tensors that `traced` returns, in the graph."""
        results: dict[str, Any] = func_graph.results(self.graph)
        return results

    def values_of(self, numbers: np.ndarray[Any, Any], outputs: dict[str, Any]) -> dict[str, Any]:
        """Return the results of a step: 'losses', 'log' by name, 'outputs' of each replica, 'learning_rate' if any."""
        losses, log = numbers[: len(self.losses)], numbers[len(self.losses) :]
        values = {"losses": losses, "log": dict(zip(self.log_names, log, strict=False))}
        values |= {"outputs": split_outputs(outputs)}
        return values | ({} if self.learning_rate is None else {"learning_rate": numbers[-1]})

    @contextlib.contextmanager
    def moved_back(self) -> Iterator[None]:
        """Give the variables in `moved` their values back after the block, an evaluation while training."""
        values = [variable.read_value() for variable in self.moved]
        try:
            yield
        finally:
            for variable, value in zip(self.moved, values, strict=True):
                variable.assign(value)

    def placeholders(self) -> dict[str, tf.Tensor]:
        """Return the placeholders that `model_fn` made itself, by name: hooks have to feed them."""
        fed = {tensor.op.name for tensor in self.inputs}
        captured = {placeholder.op.name for _, placeholder in func_graph.captures(self.graph)}
        captured |= {placeholder.op.name for placeholder, _ in func_graph.deferred_captures(self.graph)}
        return {
            op.name: op.outputs[0]
            for op in self.graph.get_operations()
            if op.type == "Placeholder" and op.name not in fed and op.name not in captured
        }

    def function(self, feeds: Sequence[tf.Tensor], fetches: Any, *, effects: bool) -> Callable[..., Any]:
        """Return a function of (positions, record, *inputs, *feeds) that computes chosen tensors.

        Args:
            feeds: further tensors that are fed.
            fetches: tensors, operations and variables in any nest.
            effects: whether the operations with an effect run too, as in a step.
        """
        # Variables are read when the step is over: without an order it would be before or after its updates by chance.
        with self.graph.as_default(), tf.control_dependencies(self.effects if effects else []):
            flat = [each.read_value() if isinstance(each, tf.Variable) else each for each in tf.nest.flatten(fetches)]
        deferred = [placeholder for placeholder, _ in func_graph.deferred_captures(self.graph)]
        taken = [*self.inputs, *feeds, *deferred]
        pruned = self.traced.prune(taken, [*flat, *self.effects] if effects else flat)
        # Called itself, a pruned function first tries a signature that it does not have, and that takes a millisecond.
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in taken]
        compiled = tf.function(lambda *args: pruned(*args)[: len(flat)], autograph=False).get_concrete_function(*specs)

        def call(*args: Any, deferred: Sequence[tf.Tensor] | None = None) -> Any:
            values = compiled(*args, *(self.deferred_captures() if deferred is None else deferred))
            return tf.nest.pack_sequence_as(fetches, values)

        return call

    def step(self) -> Callable[..., dict[str, Any]]:
        """Return `traced` as a function of (positions, record, *inputs, deferred=deferred_captures()), for loops."""
        if func_graph.deferred_captures(self.graph) or self.set_aside:
            return self.function([], self.results, effects=True)
        traced = self.traced
        return lambda *inputs, deferred: traced(*inputs, *deferred)  # of which there are none

    def deferred_captures(self) -> list[tf.Tensor]:
        """Return the values that TensorFlow computes at each call; they are lost inside of loops and branches."""
        values: list[tf.Tensor] = tf.nest.flatten([value() for _, value in func_graph.deferred_captures(self.graph)])
        return values
