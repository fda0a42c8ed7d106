"""The session hooks of `ModelSpec.hooks`, driven without a session."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field

from mox_core.engine import fetches as fetching
from mox_core.engine.state import HOOKS
from mox_core.engine.updates import state_variable
from mox_core.errors import UsageError
from mox_core.session_hooks import AggregativeSessionRunHook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mox_core.engine.modelgraph import ModelGraph
    from mox_core.engine.saving import BestWeights
    from mox_core.engine.steps import Outcome, Steps


def hook_variable(hook: AggregativeSessionRunHook, name: str, initial_value: Any) -> tf.Variable:
    """Returns a variable in which a hook remembers something, so that a resumed run goes on with it.

    It is called `hooks/<class>/<name>`, `hooks/<class>/<name>_1` for a second hook of the class, and saved with the
    model. A run that starts from checkpoint_path begins with the initial value. To be called in the hook's `__init__`;
    the value is read by `variable.numpy()` from `after_create_session` on, and changed by `variable.assign(value)` in
    `after_run`: a checkpoint of that step holds it.

    Args:
        hook: whose variable it is.
        name: what it is called.
        initial_value: a number or an array; its type is the variable's.

    Raises:
        UsageError: outside `model_fn`.
    """
    if tf.executing_eagerly():
        kind = type(hook).__name__
        raise UsageError(f"{kind} was made outside of model_fn, where its state cannot be saved: make it inside.")
    return state_variable(f"{HOOKS}{type(hook).__name__}/{name}", lambda: initial_value)


@define
class Session:
    """What hooks get as `session`: it computes tensors of the graph that `model_fn` made.

    Attributes:
        complete: in `end`: whether the run came to its end, rather than by an error or a signal.
    """

    _steps: Steps
    _best: BestWeights | None = None
    complete: bool = False

    @property
    def graph(self) -> tf.Graph:
        """The graph that `model_fn` made."""
        return self._steps.graph.graph

    @property
    def num_replicas(self) -> int:
        """On how many devices the model is: each gets a batch of its own in a step."""
        return self._steps.graph.num_replicas

    def run(self, fetches: Any, feed_dict: Mapping[tf.Tensor, Any] | None = None) -> Any:
        """Computes tensors on the inputs of the last step that a hook saw, without running a training step.

        Raises:
            UsageError: where something cannot be fetched or fed, or a placeholder is not fed.
        """
        graph, who = self._steps.graph, "session.run"
        nest, feeds = fetching.fetched(fetches, graph, who), fetching.fed(feed_dict, graph, who)
        wanted = fetching.once(nest, graph=graph, effects=False)
        try:
            values = self._steps.evaluate(list(wanted.values()), feeds)
        except Exception as error:
            if names := fetching.hungry(nest, feeds, graph):
                raise UsageError(
                    f"session.run computes from the placeholders {_quoted(names)}: feed them in its feed_dict."
                ) from error
            raise
        return fetching.filled(nest, dict(zip(wanted, values, strict=True)))

    def save_best(self) -> str:
        """Keeps the present weights as the best, in place of those kept before, and returns their checkpoint."""
        return self._best_weights().save()

    def restore_best(self) -> str:
        """Gives the model and its optimizers the values that `save_best` kept, and returns their checkpoint.

        The global step, the position in the input and the state of hooks stay as they are.
        """
        return self._best_weights().restore()

    def _best_weights(self) -> BestWeights:
        if self._best is None:
            raise UsageError("the best weights are kept and restored while training, in the hooks of TRAIN only.")
        return self._best


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
        learning_rate: in `after_run`, the learning rate of the step; None without an optimizer that has one.
    """

    session: Session
    step: int
    global_step: int
    _hook: AggregativeSessionRunHook
    _coordinator: Coordinator
    _inter_mode: Callable[[AggregativeSessionRunHook, int, int], dict[str, float]] | None
    original_args: Any = None
    learning_rate: float | None = None

    def request_stop(self) -> None:
        """Ends the run after the current step."""
        self._coordinator.stopped_by = self._coordinator.stopped_by or type(self._hook).__name__

    @property
    def stop_requested(self) -> bool:
        """Whether a hook has asked for the end."""
        return self._coordinator.should_stop()

    def run_inter_mode(self, max_steps: int) -> dict[str, float]:
        """Runs the inter mode with the present weights, from the beginning of its input.

        Hooks that ask at the same step for as many batches share one evaluation.

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
        return self._inter_mode(self._hook, max_steps, self.global_step)


@define
class HookRunner:
    """Calls the hooks of one graph in order.

    Attributes:
        hooks: the hooks of the spec.
        coordinator: knows whether one of them has asked to stop.
        session: what they are given.
    """

    hooks: Sequence[AggregativeSessionRunHook]
    _steps: Steps
    _inter_mode: Callable[[AggregativeSessionRunHook, int, int], dict[str, float]] | None = None
    _best: BestWeights | None = None
    coordinator: Coordinator = field(factory=Coordinator)
    session: Session = field(init=False)
    _placeholders: list[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.session = Session(self._steps, self._best)
        self._placeholders = list(self._steps.graph.placeholders())

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Calls begin and after_create_session, and end of each hook that has begun in whichever way the block ends."""
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
        """Calls end of all, whatever one of them raises, and says what they raised."""
        errors = []
        for hook in hooks:
            try:
                hook.end(self.session)
            except Exception as error:  # noqa: BLE001  (all are to end)
                tf.get_logger().error("%s.end: %s: %s", type(hook).__name__, type(error).__name__, error)
                errors.append(error)
        return errors

    def next_step(self, step: int) -> int | None:
        """The next local step that some hook wants to see; every step where placeholders are to be fed."""
        if self._placeholders:
            return step
        wanted = [hook.next_step(step) for hook in self.hooks]
        return min((each for each in wanted if each is not None), default=None)

    def run(self, step: int, global_step: int, *, record: bool, since: int | None = None) -> Outcome:
        """Runs one step with the hooks that want it around it.

        Args:
            step: the local step.
            global_step: the global step with which it is run.
            record: whether the step records summaries.
            since: the first local step that hooks have not seen, where some were passed by; `step` if not given. A hook
                is told the last one of these that it wants.
        """
        first = step if since is None else since
        asking = [(hook, at) for hook in self.hooks if (at := _last_wanted(hook, first, step)) is not None]
        present = [hook for hook, _ in asking]
        contexts = [
            RunContext(self.session, at, global_step + at - step, hook, self.coordinator, self._inter_mode)
            for hook, at in asking
        ]
        graph = self._steps.graph
        feeds: dict[tf.Tensor, Any] = {}
        nests: list[Any] = []
        for hook, context in zip(present, contexts, strict=True):
            context.original_args = args = hook.before_run(context)
            who = type(hook).__name__
            feeds |= fetching.fed(getattr(args, "feed_dict", None), graph, who)
            asked = getattr(args, "fetches", None)
            nests.append([] if asked is None else [fetching.fetched(asked, graph, who)])
        self._check_fed(feeds)
        wanted = fetching.once(*nests, graph=graph, effects=True)
        outcome = self._steps.one(record=record, feeds=feeds, fetches=list(wanted.values()) or None)
        if outcome.values is not None:
            fetched = dict(zip(wanted, outcome.fetched or (), strict=True))
            for hook, context, nest in zip(present, contexts, nests, strict=True):
                context.learning_rate = outcome.values.get("learning_rate")
                results = fetching.filled(nest[0], fetched) if nest else None
                values = tf.compat.v1.train.SessionRunValues(results=results, options=None, run_metadata=None)
                hook.after_run(context, values)
        return outcome

    def _check_fed(self, feeds: Mapping[tf.Tensor, Any]) -> None:
        fed = {tensor.op.name for tensor in feeds}
        if names := [name for name in self._placeholders if name not in fed]:
            raise _nobody_feeds(names, self._steps.graph)


def _last_wanted(hook: AggregativeSessionRunHook, first: int, last: int) -> int | None:
    """Returns the last of some local steps that a hook wants to see, None where there is none."""
    found = None
    while (step := hook.next_step(first)) is not None and step <= last:
        found, first = step, step + 1
    return found


def check_fed(graph: ModelGraph, hooks: Sequence[AggregativeSessionRunHook]) -> None:
    """Refuses placeholders that no hook can feed, before anything is written.

    Raises:
        UsageError: with their names.
    """
    base = AggregativeSessionRunHook.before_run
    names = list(graph.placeholders())
    if names and all(type(hook).before_run is base for hook in hooks):
        raise _nobody_feeds(names, graph)


def _nobody_feeds(names: Sequence[str], graph: ModelGraph) -> UsageError:
    return UsageError(
        f"nobody feeds the placeholders {_quoted(names)} that model_fn made in {graph.mode}. "
        "Return a hook that does: hooks=[mox.FeedSessionRunHook(feed_dict={placeholder: value})]."
    )


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
