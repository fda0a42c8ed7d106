"""The calls of the session hooks of `ModelSpec.hooks`, without a session of TensorFlow."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field

from mox_core.engine.checkpoint.best_weights import NoBestWeights
from mox_core.engine.hooks.fetches import fill_fetches, quoted, resolve_feeds, resolve_fetches, unique_fetches
from mox_core.engine.hooks.session import Coordinator, Evaluation, NoEvaluation, RunContext, Session
from mox_core.engine.interruption import RunInterrupted
from mox_core.engine.model.step_runner import Outcome
from mox_core.errors import UsageError
from mox_core.session_hooks import AggregativeSessionRunHook, watches_inter_mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mox_core.engine.checkpoint.best_weights import BestWeights
    from mox_core.engine.model.model_graph import ModelGraph
    from mox_core.engine.model.step_runner import StepRunner


@define
class HookRunner:
    """The hooks of one graph, called in order.

    Attributes:
        hooks: the hooks of the spec.
        coordinator: knows whether one of them has asked to stop.
        session: the session that they are given.
    """

    hooks: Sequence[AggregativeSessionRunHook]
    _steps: StepRunner
    _evaluation: Evaluation = field(factory=NoEvaluation)
    _best: BestWeights | NoBestWeights = field(factory=NoBestWeights)
    coordinator: Coordinator = field(factory=Coordinator)
    session: Session = field(init=False)
    _placeholders: list[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.session = Session(self._steps, self._best)
        self._placeholders = list(self._steps.graph.placeholders())

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Call `begin` and `after_create_session`, and `end` of each hook that has begun, however the block ends."""
        begun: list[AggregativeSessionRunHook] = []
        try:
            with self._steps.graph.graph.as_default():
                for hook in self.hooks:
                    hook.begin()
                    begun.append(hook)
            for hook in self.hooks:
                hook.after_create_session(self.session, self.coordinator)
            yield
        except BaseException:
            self._end(begun)
            raise
        if errors := self._end(begun):
            raise errors[0]

    def _end(self, hooks: Sequence[AggregativeSessionRunHook]) -> list[Exception]:
        """Call `end` of all hooks, and return what they raised."""
        errors = []
        for hook in hooks:
            try:
                hook.end(self.session)
            except Exception as error:  # noqa: BLE001  (all are to end)
                tf.get_logger().error("%s.end: %s: %s", type(hook).__name__, type(error).__name__, error)
                errors.append(error)
        return errors

    def next_step(self, step: int) -> int | None:
        """Return the next local step that some hook wants to see; every step where placeholders are to be fed."""
        if self._placeholders:
            return step
        wanted = [hook.next_step(step) for hook in self.hooks]
        return min((each for each in wanted if each is not None), default=None)

    def run(self, step: int, global_step: int, *, record: bool, since: int | None = None) -> Outcome:
        """Run one step, with `before_run` and `after_run` of the hooks that want it.

        Args:
            step: the local step.
            global_step: the global step with which it is run.
            record: whether the step records summaries.
            since: the first local step that hooks have not seen, where some were passed by; `step` if not given. A hook
                is told the last one of these that it wants.
        """
        first = step if since is None else since
        asking = [(hook, at) for hook in self.hooks if (at := _last_wanted(hook, first, step)) is not None]
        contexts = [
            RunContext(self.session, at, global_step + at - step, hook, self.coordinator, self._evaluation)
            for hook, at in asking
        ]
        graph = self._steps.graph
        feeds: dict[tf.Tensor, Any] = {}
        nests: list[Any] = []
        for (hook, _), context in zip(asking, contexts, strict=True):
            try:
                context.original_args = args = hook.before_run(context)
            except RunInterrupted:  # it was evaluating
                return Outcome(steps=0, samples=0, values=None)
            who = type(hook).__name__
            feeds |= resolve_feeds(getattr(args, "feed_dict", None), graph, who)
            asked = getattr(args, "fetches", None)
            nests.append([] if asked is None else [resolve_fetches(asked, graph, who)])
        self._check_fed(feeds)
        wanted = unique_fetches(*nests, graph=graph, effects=True)
        outcome = self._steps.run_one(record=record, feeds=feeds, fetches=list(wanted.values()) or None)
        if outcome.values is not None:
            fetched = dict(zip(wanted, outcome.fetched or (), strict=True))
            for (hook, _), context, nest in zip(asking, contexts, nests, strict=True):
                context.learning_rate = outcome.values.get("learning_rate")
                results = fill_fetches(nest[0], fetched) if nest else None
                values = tf.compat.v1.train.SessionRunValues(results=results, options=None, run_metadata=None)
                with contextlib.suppress(RunInterrupted):  # the step has been done, and counts
                    hook.after_run(context, values)
        return outcome

    def after_inter_mode(self, step: int, global_step: int) -> None:
        """Tell the hooks that watch evaluations that one is complete."""
        for hook in filter(watches_inter_mode, self.hooks):
            hook.after_inter_mode(RunContext(self.session, step, global_step, hook, self.coordinator, self._evaluation))

    def _check_fed(self, feeds: Mapping[tf.Tensor, Any]) -> None:
        fed = {tensor.op.name for tensor in feeds}
        if names := [name for name in self._placeholders if name not in fed]:
            raise _nobody_feeds(names, self._steps.graph)


def check_fed(graph: ModelGraph, hooks: Sequence[AggregativeSessionRunHook]) -> None:
    """Refuse placeholders that no hook can feed, before anything is written.

    Raises:
        UsageError: with their names.
    """
    base = AggregativeSessionRunHook.before_run
    names = list(graph.placeholders())
    if names and all(type(hook).before_run is base for hook in hooks):
        raise _nobody_feeds(names, graph)


def _last_wanted(hook: AggregativeSessionRunHook, first: int, last: int) -> int | None:
    """Return the last of some local steps that a hook wants to see, None where there is none."""
    found = None
    while (step := hook.next_step(first)) is not None and step <= last:
        found, first = step, step + 1
    return found


def _nobody_feeds(names: Sequence[str], graph: ModelGraph) -> UsageError:
    return UsageError(
        f"nobody feeds the placeholders {quoted(names)} that model_fn made in {graph.mode}. "
        "Return a hook that does: hooks=[mox.FeedSessionRunHook(feed_dict={placeholder: value})]."
    )
