"""The loop: as many steps in one compiled call as lie before the next thing that the host has to do.

What is done between calls are observers: each says which local step it wants to see next, and is then given a report of
that step. The order of the observers is the order in which a step is reported: log, summaries, outputs, checkpoint.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.distribute.collectives import SingleProcess, together
from mox_core.engine.loop.observers import Observer, OutputWindows, StepReport
from mox_core.engine.loop.stop import not_finite
from mox_core.errors import NanLossError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.engine.hooks.hook_runner import HookRunner
    from mox_core.engine.loop.stop import StopRule
    from mox_core.engine.model.metrics import Metrics
    from mox_core.engine.model.step_runner import Outcome, StepRunner
    from mox_core.engine.variables.run_state import RunState

_SECONDS_PER_CALL: Final = 1.0
"""A call lasts about this long at most, so that signals are answered and checkpoints saved in time."""

_BYTES_PER_CALL: Final = 64 << 20
"""How much of the outputs of its steps a call collects at most."""

_CALL_PER_AGREEMENT: Final = 10
"""A call lasts at least this many times as long as the workers take to agree on it, by an all-gather."""


@frozen(kw_only=True)
class LoopResult:
    """How a loop ended.

    Attributes:
        steps: how many steps it ran.
        samples: how many samples they saw.
        stopped_by: 'max_number_of_steps', 'end of input', the name of a hook, or the name of a signal.
        interrupted: whether a signal has ended it, sent to this process or to another worker.
        last: the values of `log_info` at the last step.
        means: the means of `log_info`, weighted by samples; of metrics, the values over all samples.
    """

    steps: int
    samples: int
    stopped_by: str
    interrupted: bool
    last: dict[str, Any]
    means: dict[str, Any]


@frozen(kw_only=True)
class _NextCall:
    """What is done next: the end, one step with hooks around it, several in one call, or none."""

    stop: bool = False
    alone: bool = False
    steps: int = 1


@define(kw_only=True)
class Loop:
    """The loop of steps.

    Attributes:
        steps: runs them.
        state: the variables of the run.
        hooks: the session hooks.
        observers: what is done after steps, in this order.
        stop_rule: what stops the loop beside the end of its input.
        first_global_step: the global step of local step 0.
        training: whether the loop trains: then all workers run as many steps at a time, and stop at the same step.
    """

    steps: StepRunner
    state: RunState
    hooks: HookRunner
    observers: Sequence[Observer]
    stop_rule: StopRule
    first_global_step: int
    training: bool
    _done: int = field(default=0, init=False)
    _samples: int = field(default=0, init=False)
    _nan: str | None = field(default=None, init=False)
    _seconds_to_agree: float = field(default=0.0, init=False)
    _agreed_at: float = field(factory=time.perf_counter, init=False)
    _last: dict[str, Any] | None = field(default=None, init=False)
    _unreported: bool = field(default=False, init=False)
    _seconds_per_step: float | None = field(default=None, init=False)
    _collectable: int = field(default=1, init=False)

    def run(self) -> LoopResult:
        """Run until the limit, the end of the input, a hook or a signal, and return which it was."""
        with self.hooks.running():
            ended = False
            while True:
                stopped_by = self.stop_rule.reason(self._done) or ("end of input" if ended else None)
                call = self._agree(stopped_by)
                self._report()  # now the positions of all workers are known, which a checkpoint holds
                if call.stop:
                    break
                if call.steps:
                    began = time.perf_counter()
                    outcome = self._run(call)
                    self._hand_over(outcome)
                    self._count(outcome, time.perf_counter() - began)
                    ended = outcome.ended
            reason, interrupted = self._stop_reason(stopped_by)
            self.hooks.session.complete = not interrupted
        self._together(self._finish)
        return self._result(reason, interrupted=interrupted)

    def _result(self, stopped_by: str, *, interrupted: bool) -> LoopResult:
        own = self.steps.log_sums()
        samples, *sums = self.steps.collective.all_gather([self._samples, *own.values()]).sum(axis=0)
        means = {name: float(total / samples) for name, total in zip(own, sums, strict=True)} if samples else {}
        metrics = self.steps.graph.metrics
        if not self.training and samples:
            means = metrics.with_values(means, self.steps.collective)
        return LoopResult(
            steps=self._done,
            samples=int(samples),
            stopped_by=stopped_by,
            interrupted=interrupted,
            last=last_log(self._last, metrics),
            means=means,
        )

    def _agree(self, stopped_by: str | None) -> _NextCall:
        """Return what this worker does next; where workers train, all do the least that one of them wants.

        Raises:
            NanLossError: if a loss or a weight of one of them is not finite any more.
        """
        own = _NextCall(stop=True) if stopped_by else self._wanted()
        if not self.training:
            return self._agree_to_go_on(own)
        began = time.perf_counter()
        positions = [] if self.state.worker_positions is None else self.state.own_positions()
        rows = self.steps.collective.all_gather([own.stop, own.alone, own.steps, self._nan is not None, *positions])
        self._seconds_to_agree = time.perf_counter() - began
        stop, alone, steps, nan = rows[:, :4].T
        self.state.note_worker_positions(rows[:, 4:])
        if nan.any():
            self._together(self._raise_nan)
        return _NextCall(stop=bool(stop.any()), alone=bool(alone.any()), steps=int(steps.min()))

    def _agree_to_go_on(self, own: _NextCall) -> _NextCall:
        """Return what this worker does next in an evaluation: its own share, as long as none has been sent a signal."""
        interrupted, now = self.stop_rule.interrupted, time.perf_counter()
        if self.steps.collective.world_size == 1 or not (
            own.stop or interrupted or now - self._agreed_at >= _SECONDS_PER_CALL
        ):
            return own
        stopped, signalled = self.steps.collective.all_gather([own.stop, interrupted]).T
        self._agreed_at = time.perf_counter()
        if signalled.any() or stopped.all():
            return _NextCall(stop=True)
        return _NextCall(steps=0) if own.stop else own

    def _together(self, function: Callable[[], None]) -> None:
        """Call a function; where workers train, all of them fail if one does."""
        together(self.steps.collective if self.training else SingleProcess(), function)

    def _raise_nan(self) -> None:
        if self._nan:
            raise NanLossError(self._nan)

    def _finish(self) -> None:
        for observer in self.observers:
            observer.finish()

    def _stop_reason(self, stopped_by: str | None) -> tuple[str, bool]:
        """Return what stopped the first worker that was stopped, a signal before all, and whether it was one."""
        interrupted = self.stop_rule.interrupted
        if self.steps.collective.world_size == 1:
            return str(stopped_by), interrupted
        gathered = self.steps.collective.all_gather_object([stopped_by, interrupted])
        if not self.training and not any(each[1] for each in gathered):
            return str(stopped_by), False
        stopped = [(worker, *each) for worker, each in enumerate(gathered) if each[0]]
        worker, reason, interrupted = next((each for each in stopped if each[2]), stopped[0])
        if not stopped_by:
            tf.get_logger().warning("worker %d ends the run: %s.", worker, reason)
        return str(reason), bool(interrupted)

    def _wanted(self) -> _NextCall:
        """Return the steps up to the next one that somebody wants to see, that one included."""
        step = self._done
        wanted = [observer.next_step(step) for observer in self.observers]
        recorded, hooked = self._recorded(step), self.hooks.next_step(step)
        if step == hooked:
            return _NextCall(alone=True)
        stops = [each + 1 for each in wanted if each is not None]
        # A special step has a call for itself, a later one: this one stops before it.
        stops += [each for each in (recorded, hooked, self.stop_rule.max_steps) if each is not None and each != step]
        count = min(stops, default=step + 1 + self._affordable()) - step
        return _NextCall(steps=max(1, min(count, self._affordable())))

    def _recorded(self, step: int) -> int | None:
        """Return the next step that is to record summaries."""
        wanted = [observer.next_step(step) for observer in self.observers if observer.records]
        return min((each for each in wanted if each is not None), default=None)

    def _run(self, call: _NextCall) -> Outcome:
        step = self._done
        record = step == self._recorded(step)
        if not call.alone:
            return self.steps.run_loop(call.steps, record=record)
        return self.hooks.run(step, self.first_global_step + step, record=record)

    def _affordable(self) -> int:
        """Return how many steps a call may have."""
        seconds = max(_SECONDS_PER_CALL, _CALL_PER_AGREEMENT * self._seconds_to_agree)
        steps = 1 if self._seconds_per_step is None else max(1, int(seconds / self._seconds_per_step))
        return min(steps, self._collectable) if self.steps.collects else steps

    def _hand_over(self, outcome: Outcome) -> None:
        """Hand over the outputs of the steps in the middle of a call; those of the last one are in its report."""
        if not (self.steps.collects and outcome.values):
            return
        windows = [observer for observer in self.observers if isinstance(observer, OutputWindows)]
        for outputs in outcome.earlier:
            for each in windows:
                each.add(outputs)
        # How long output_fn takes is not known before: so calls grow slowly.
        size = sum(array.nbytes for outputs in outcome.values["outputs"] for array in outputs.values())
        self._collectable = max(1, min(2 * outcome.steps, _BYTES_PER_CALL // max(size, 1)))

    def _count(self, outcome: Outcome, seconds: float) -> None:
        if self._done and outcome.steps:  # the first call also compiles
            self._seconds_per_step = max(seconds / outcome.steps, 1e-6)
        self._done += outcome.steps
        self._samples += outcome.samples
        if outcome.values is not None:
            self._last, self._unreported = outcome.values, True
            self._check_finite(outcome.values)

    def _check_finite(self, values: dict[str, Any]) -> None:
        step = self._done - 1
        if bad := not_finite(self.steps.graph.losses, values["losses"]):
            self._nan = (
                f"{bad} at global step {self.first_global_step + step}: training stops, and its weights are not saved. "
                "A lower learning rate, or a look at the input of this step, is the usual way out."
            )
            if self.steps.collective.world_size == 1 or not self.training:
                raise NanLossError(self._nan)
            # Otherwise all workers agree before one of them ends.

    def _report(self) -> None:
        """Report the last step to the observers, once."""
        if self._last is None or not self._unreported:
            return
        self._unreported, step = False, self._done - 1
        report = StepReport(
            step=step,
            global_step=self.first_global_step + step,
            values=self._last,
            samples=self._samples,
            now=time.perf_counter(),
            metrics=self.steps.graph.metrics,
        )
        try:
            for observer in self.observers:
                observer.after_step(report)
        except NanLossError as error:  # of weights that were to be saved, by the chief alone
            if self.steps.collective.world_size == 1:
                raise
            self._nan = str(error)


def last_log(values: dict[str, Any] | None, metrics: Metrics) -> dict[str, Any]:
    """Return the log values of the last step; none where no step ran."""
    if values is None:
        return {}
    return metrics.with_values({name: float(value) for name, value in values["log"].items()})
