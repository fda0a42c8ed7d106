"""The session hooks of `ModelSpec.hooks`, driven without a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mox_core.engine.steps import Outcome, Steps
    from mox_core.session_hooks import AggregativeSessionRunHook


@define
class Session:
    """What hooks get as `session`: it computes tensors of the graph that `model_fn` made."""

    _steps: Steps

    @property
    def graph(self) -> tf.Graph:
        """The graph that `model_fn` made."""
        return self._steps.graph.graph

    def run(self, fetches: Any, feed_dict: Mapping[tf.Tensor, Any] | None = None) -> Any:
        """Computes tensors on the inputs of the last step that a hook saw, without running a training step."""
        return self._steps.evaluate(fetches, feed_dict)


@define
class Coordinator:
    """What hooks get as `coord`."""

    stopped_by: str | None = None

    def request_stop(self) -> None:
        """Ends the run after the current step."""
        self.stopped_by = self.stopped_by or "a hook"

    def should_stop(self) -> bool:
        """Whether a hook has asked for the end."""
        return self.stopped_by is not None


@define
class RunContext:
    """What hooks get as `run_context`.

    Attributes:
        session: computes tensors of the graph.
        step: the local step that is run.
        global_step: the global step with which it is run.
        original_args: what all hooks together fetch and feed in this step.
    """

    session: Session
    step: int
    global_step: int
    _hook: AggregativeSessionRunHook
    _coordinator: Coordinator
    _inter_mode: Callable[[AggregativeSessionRunHook, int], dict[str, float]] | None
    original_args: Any = None

    def request_stop(self) -> None:
        """Ends the run after the current step."""
        self._coordinator.stopped_by = self._coordinator.stopped_by or type(self._hook).__name__

    @property
    def stop_requested(self) -> bool:
        """Whether a hook has asked for the end."""
        return self._coordinator.should_stop()

    def run_inter_mode(self, max_steps: int) -> dict[str, float]:
        """Runs the inter mode with the present weights, from the beginning of its input.

        Args:
            max_steps: how many batches at most; fewer if the input ends before.

        Returns:
            The means, weighted by samples, of the `monitor_info` of this hook's twin: the hook of the same class that
            `model_fn` returned in the inter mode.

        Raises:
            UsageError: where `mox.run` was given no inter mode.
        """
        if self._inter_mode is None:
            msg = (
                f"{type(self._hook).__name__} runs the inter mode, but there is none: "
                "pass inter_mode=mox.ModeKeys.EVAL to mox.run."
            )
            raise UsageError(msg)
        return self._inter_mode(self._hook, max_steps)


@define
class HookRunner:
    """Calls the hooks of one graph in order.

    Attributes:
        hooks: the hooks of the spec.
        coordinator: knows whether one of them has asked to stop.
    """

    hooks: Sequence[AggregativeSessionRunHook]
    _steps: Steps
    _inter_mode: Callable[[AggregativeSessionRunHook, int], dict[str, float]] | None = None
    coordinator: Coordinator = field(factory=Coordinator)
    _session: Session = field(init=False)
    _placeholders: list[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._session = Session(self._steps)
        self._placeholders = list(self._steps.graph.placeholders())

    def begin(self) -> None:
        """Calls begin and after_create_session."""
        with self._steps.graph.graph.as_default():
            for hook in self.hooks:
                hook.begin()
        for hook in self.hooks:
            hook.after_create_session(self._session, self.coordinator)

    def end(self) -> None:
        """Calls end."""
        for hook in self.hooks:
            hook.end(self._session)

    def next_step(self, step: int) -> int | None:
        """The next local step that some hook wants to see; every step where placeholders are to be fed."""
        if self._placeholders:
            return step
        wanted = [hook.next_step(step) for hook in self.hooks]
        return min((each for each in wanted if each is not None), default=None)

    def run(self, step: int, global_step: int, *, record: bool) -> Outcome:
        """Runs one step with the hooks that want it around it."""
        present = [hook for hook in self.hooks if hook.next_step(step) == step]
        contexts = {
            id(hook): RunContext(self._session, step, global_step, hook, self.coordinator, self._inter_mode)
            for hook in present
        }
        asked = [(hook, hook.before_run(contexts[id(hook)])) for hook in present]
        feeds: dict[tf.Tensor, Any] = {}
        for hook, args in asked:
            for tensor, value in (getattr(args, "feed_dict", None) or {}).items():
                feeds[tensor] = _fed(tensor, value, hook)
        self._check_fed(feeds)
        fetches = {
            str(n): args.fetches for n, (_, args) in enumerate(asked) if getattr(args, "fetches", None) is not None
        }
        outcome = self._steps.one(record=record, feeds=feeds, fetches=fetches or None)
        if outcome.steps:
            for number, (hook, args) in enumerate(asked):
                results = (outcome.fetched or {}).get(str(number))
                contexts[id(hook)].original_args = args
                values = tf.compat.v1.train.SessionRunValues(results=results, options=None, run_metadata=None)
                hook.after_run(contexts[id(hook)], values)
        return outcome

    def _check_fed(self, feeds: Mapping[tf.Tensor, Any]) -> None:
        fed = {tensor.op.name for tensor in feeds}
        if hungry := [name for name in self._placeholders if name not in fed]:
            msg = (
                f"nobody feeds the placeholders {', '.join(map(repr, hungry))} that model_fn made. "
                "Return a hook that does: hooks=[mox.FeedSessionRunHook(feed_dict={placeholder: value})]."
            )
            raise UsageError(msg)


def _fed(tensor: tf.Tensor, value: Any, hook: AggregativeSessionRunHook) -> tf.Tensor:
    try:
        fed = tf.convert_to_tensor(value, dtype_hint=tensor.dtype)
        if fed.dtype != tensor.dtype:
            fed = tf.cast(fed, tensor.dtype)
    except (TypeError, ValueError, tf.errors.OpError) as error:
        msg = (
            f"{type(hook).__name__} feeds {tensor.op.name!r} with {type(value).__name__}, "
            f"which is no {tensor.dtype.name}: {error}"
        )
        raise UsageError(msg) from error
    if not tensor.shape.is_compatible_with(fed.shape):
        msg = (
            f"{type(hook).__name__} feeds {tensor.op.name!r} of shape {tensor.shape} with a value of shape {fed.shape}."
        )
        raise UsageError(msg)
    return fed
