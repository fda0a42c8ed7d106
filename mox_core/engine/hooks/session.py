"""What session hooks are given: session, coordinator and run context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import define

from mox_core.engine.hooks.fetches import (
    fill_fetches,
    quoted,
    resolve_feeds,
    resolve_fetches,
    unfed_placeholders,
    unique_fetches,
)
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tensorflow as tf

    from mox_core.engine.checkpoint.best_weights import BestWeights, NoBestWeights
    from mox_core.engine.input.pipeline import InputPipeline
    from mox_core.engine.model.step_runner import StepRunner
    from mox_core.session_hooks import AggregativeSessionRunHook


class Evaluation(Protocol):
    """What evaluates between two steps of training: the inter mode."""

    @property
    def pipeline(self) -> InputPipeline | None:
        """Its input; None where there is none."""

    def evaluate(self, hook: AggregativeSessionRunHook, max_steps: int, global_step: int) -> dict[str, float]:
        """Return the means, weighted by samples, of what a hook monitors."""

    def note_best(self, global_step: int, checkpoint: str | None) -> None:
        """Note that the evaluation at a step was the best so far."""


class NoEvaluation:
    """The inter mode of a run that has none."""

    pipeline = None

    def evaluate(self, hook: AggregativeSessionRunHook, max_steps: int, global_step: int) -> dict[str, float]:
        """Refuse to evaluate.

        Raises:
            UsageError: always.
        """
        del max_steps, global_step
        raise UsageError(
            f"{type(hook).__name__} runs the inter mode, but there is none: "
            "pass inter_mode=mox.ModeKeys.EVAL to mox.run."
        )

    def note_best(self, global_step: int, checkpoint: str | None) -> None:
        """Do nothing: nothing was evaluated."""


@define
class Session:
    """The `session` of hooks: it computes tensors of the graph that `model_fn` made.

    Attributes:
        complete: in `end`: whether the run came to its end, rather than by an error or a signal.
    """

    _steps: StepRunner
    _best: BestWeights | NoBestWeights
    complete: bool = False

    @property
    def graph(self) -> tf.Graph:
        """The graph that `model_fn` made."""
        return self._steps.graph.graph

    @property
    def mode(self) -> str:
        """The mode in which `model_fn` made the graph: 'TRAIN', 'EVAL' or 'PREDICT'."""
        return self._steps.graph.mode

    @property
    def num_replicas(self) -> int:
        """How many replicas of the model this process has: each gets a batch of its own in a step."""
        return self._steps.graph.num_replicas

    def run(self, fetches: Any, feed_dict: Mapping[tf.Tensor, Any] | None = None) -> Any:
        """Compute tensors on the inputs of the last step that a hook saw, without running a training step.

        Args:
            fetches: tensors, operations and variables, or their names, in any nest.
            feed_dict: values by the tensors that they replace.

        Raises:
            UsageError: if something cannot be fetched or fed, or a placeholder is not fed.
        """
        graph, who = self._steps.graph, "session.run"
        nest, feeds = resolve_fetches(fetches, graph, who), resolve_feeds(feed_dict, graph, who)
        wanted = unique_fetches(nest, graph=graph, effects=False)
        try:
            values = self._steps.evaluate(list(wanted.values()), feeds)
        except Exception as error:
            if names := unfed_placeholders(nest, feeds, graph):
                raise UsageError(
                    f"session.run computes from the placeholders {quoted(names)}: feed them in its feed_dict."
                ) from error
            raise
        return fill_fetches(nest, dict(zip(wanted, values, strict=True)))

    def save_best(self) -> str:
        """Keep the present weights as the best, in place of those kept before, and return their checkpoint."""
        return self._best.save()

    def restore_best(self) -> str:
        """Restore the model and its optimizers from what `save_best` kept, and return that checkpoint.

        The global step, the position in the input and the state of hooks stay as they are.
        """
        return self._best.restore()


@define
class Coordinator:
    """The `coord` of hooks.

    Attributes:
        stopped_by: who has asked to stop, None as long as nobody has.
    """

    stopped_by: str | None = None

    def request_stop(self) -> None:
        """End the run after the current step."""
        self.stopped_by = self.stopped_by or "a hook"

    def should_stop(self) -> bool:
        """Whether a hook has asked to stop."""
        return self.stopped_by is not None


@define
class RunContext:
    """The `run_context` of hooks.

    Attributes:
        session: computes tensors of the graph.
        step: the local step that is run.
        global_step: the global step with which it is run.
        original_args: what `before_run` of the hook has returned; None before.
        learning_rate: in `after_run`, the learning rate of the step; None without an optimizer that has one.
    """

    session: Session
    step: int
    global_step: int
    _hook: AggregativeSessionRunHook
    _coordinator: Coordinator
    _evaluation: Evaluation
    original_args: Any = None
    learning_rate: float | None = None

    def request_stop(self) -> None:
        """End the run after the current step."""
        self._coordinator.stopped_by = self._coordinator.stopped_by or type(self._hook).__name__

    @property
    def stop_requested(self) -> bool:
        """Whether a hook has asked to stop."""
        return self._coordinator.should_stop()

    def note_best(self, checkpoint: str | None = None) -> None:
        """Say that the evaluation at this step was the best so far, for `mox.RunResult.best`.

        Args:
            checkpoint: what `session.save_best` has returned, if the weights are kept.
        """
        self._evaluation.note_best(self.global_step, checkpoint)

    def run_inter_mode(self, max_steps: int) -> dict[str, float]:
        """Run the inter mode with the present weights, from the beginning of its input.

        Hooks that ask at the same step for as many batches share one evaluation.

        Args:
            max_steps: how many batches at most; fewer if the input ends before.

        Returns:
            The means, weighted by samples, of the `monitor_info` of this hook's twin: the hook of the same class that
            `model_fn` returned in the inter mode.

        Raises:
            UsageError: if `mox.run` was given no inter mode.
        """
        return self._evaluation.evaluate(self._hook, max_steps, self.global_step)
