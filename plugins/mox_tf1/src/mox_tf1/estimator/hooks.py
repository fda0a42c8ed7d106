"""Session hooks of TensorFlow 1 as those of mox."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

import mox_core as mox
from mox_core.errors import UsageError
from mox_tf1.estimator.log import say

if TYPE_CHECKING:
    from collections.abc import Iterable

_INSTEAD: Final = {
    "CheckpointSaverHook": "RunConfig(save_checkpoints_steps=...) says when checkpoints are saved",
    "ProfilerHook": "tf.profiler.experimental profiles",
    "SummarySaverHook": "tf.summary in model_fn is written every RunConfig(save_summary_steps=...) steps",
}
"""For hooks that need what only sessions have, what to use."""

_STEPS_BETWEEN_LOOKS: Final = 10
"""How many steps lie between two looks at the clock."""


def adapted(hooks: Iterable[Any] | None) -> list[Any]:
    """Return hooks as `mox.ModelSpec` takes them.

    Raises:
        UsageError: for one that cannot work on mox.
    """
    needed = [hook for hook in hooks or () if not isinstance(hook, tf.compat.v1.train.StepCounterHook)]
    if len(needed) < len(list(hooks or ())):
        say("StepCounterHook is left out: the log has the samples of a second.")
    return [hook if isinstance(hook, mox.AggregativeSessionRunHook) else _adapted(hook) for hook in needed]


def _adapted(hook: Any) -> Any:
    train = tf.compat.v1.train
    for name, instead in _INSTEAD.items():
        if isinstance(hook, getattr(train, name)):
            raise UsageError(f"the hook {type(hook).__name__} needs a session of TensorFlow 1: {instead}.")
    if not isinstance(hook, train.SessionRunHook):
        raise UsageError(f"hooks has {hook!r}, which is no tf.train.SessionRunHook.")
    kind = type(hook).__name__  # the name under which RunResult and the log speak of it
    return type(kind, (SessionHook,), {})(hook)


class SessionHook(mox.AggregativeSessionRunHook):
    """A `tf.train.SessionRunHook`, called around every step.

    Args:
        hook: the hook.
    """

    def __init__(self, hook: Any) -> None:
        super().__init__()
        self._hook = hook

    def begin(self) -> None:
        """Begin."""
        self._hook.begin()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Hand the session on."""
        self._hook.after_create_session(session, coord)

    def before_run(self, run_context: Any) -> Any:
        """Return what the hook asks for."""
        return self._hook.before_run(run_context)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Hand the values on."""
        self._hook.after_run(run_context, run_values)

    def end(self, session: Any) -> None:
        """End; after an error a session hook of TensorFlow 1 is not called."""
        if session.complete:
            self._hook.end(session)

    def support_aggregation(self) -> bool:
        """Return True: TensorFlow 1 had one instance."""
        return True

    def support_sync_workers(self) -> bool:
        """Return False: it runs on each worker."""
        return False

    def run_inter_mode(self) -> bool:
        """Return False: it runs in its own mode."""
        return False


class StopForEvaluation(mox.AggregativeSessionRunHook):
    """Ends a training behind a step at which a checkpoint is due, for an evaluation.

    Args:
        first_step: the global step with which the training begins.
        steps: the global step is a multiple of this then; None where checkpoints go by the clock.
        not_before: the time of `time.monotonic()` before which it goes on.
    """

    def __init__(self, first_step: int, steps: int | None, not_before: float) -> None:
        super().__init__()
        self._first_step = first_step
        self._steps = steps or _STEPS_BETWEEN_LOOKS
        self._not_before = not_before

    def next_step(self, step: int) -> int:
        """Return the next step behind which the global step is such a multiple."""
        return step + -(self._first_step + step + 1) % self._steps

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Ask to stop, if it is time."""
        del run_values
        if time.monotonic() >= self._not_before:
            run_context.request_stop()

    def support_aggregation(self) -> bool:
        """Return True: one is enough."""
        return True

    def support_sync_workers(self) -> bool:
        """Return True: all workers stop at the same step."""
        return True

    def run_inter_mode(self) -> bool:
        """Return False: the evaluation is a run of its own."""
        return False
