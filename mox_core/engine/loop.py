"""The loop: as many steps in one compiled call as lie before the next thing that the host has to do.

What is done between calls are observers: each says which local step it wants to see next, and is then given that step's
values. The order of the observers is the order in which a step is reported: log, summaries, outputs, checkpoint.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.workers import Alone
from mox_core.errors import NanLossError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.engine.hooks import HookRunner
    from mox_core.engine.interrupts import Interrupts
    from mox_core.engine.steps import Outcome, Steps
    from mox_core.engine.workers import Peers

# A call lasts about this long at most, so that signals are answered and checkpoints saved in time.
_SECONDS_A_CALL = 1.0
# And at least so many times as long as many workers take to agree on it.
_CALL_TO_AGREEMENT = 10


@frozen(kw_only=True)
class Seen:
    """A step that has run, as observers see it.

    Attributes:
        step: the local step, 0 for the first of the run.
        global_step: the global step with which it ran.
        values: what it gave: 'losses', 'log', 'outputs', 'learning_rate'.
        samples: samples of the run so far, this step's included.
        now: seconds of `time.perf_counter`.
    """

    step: int
    global_step: int
    values: dict[str, Any]
    samples: int
    now: float


class Observer(Protocol):
    """Something that is done after some steps."""

    records: bool
    """Whether the steps it wants to see are to record summaries."""

    def next_step(self, step: int) -> int | None:
        """The next local step, `step` or later, that it wants to see; None for none."""

    def see(self, seen: Seen) -> None:
        """Is called after every call of steps, with the last one: also with others than it asked for."""

    def finish(self) -> None:
        """Is called when the loop has ended without an error."""


@frozen(kw_only=True)
class Result:
    """How a loop ended.

    Attributes:
        steps: how many steps it ran.
        samples: how many samples they saw.
        stopped_by: 'max_number_of_steps', 'end of input', the name of a hook, or the name of a signal.
        interrupted: whether a signal has ended it, to this process or to another worker.
        last: the values of `log_info` at the last step.
        means: the means of `log_info`, weighted by samples.
    """

    steps: int
    samples: int
    stopped_by: str
    interrupted: bool
    last: dict[str, float]
    means: dict[str, float]


@frozen(kw_only=True)
class _Call:
    """What is done next: the end, one step alone, in which something special happens, or several in one call."""

    stop: bool = False
    alone: bool = False
    steps: int = 1


@define(kw_only=True)
class Loop:
    """Runs steps until something stops it.

    Attributes:
        steps: what runs them.
        hooks: the session hooks.
        observers: what is done after steps, in this order.
        interrupts: whether the process was asked to end.
        first_global_step: the global step of local step 0.
        max_steps: how many steps at most, None for no limit.
        peers: the workers, which all call as many steps at a time, and stop at the same step, where they train.
        training: whether the loop trains.
    """

    steps: Steps
    hooks: HookRunner
    observers: Sequence[Observer]
    interrupts: Interrupts
    first_global_step: int
    max_steps: int | None
    peers: Peers = field(factory=Alone)
    training: bool
    _done: int = field(default=0, init=False)
    _samples: int = field(default=0, init=False)
    _sums: dict[str, float] = field(init=False)
    _nan: str | None = field(default=None, init=False)
    _seconds_to_agree: float = field(default=0.0, init=False)
    _last: dict[str, Any] | None = field(default=None, init=False)
    _seconds_a_step: float | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._sums = dict.fromkeys(self.steps.graph.watched, 0.0)

    def run(self) -> Result:
        """Runs until the limit, the end of the input, a hook or a signal, and says which."""
        with self.hooks.running():
            stopped_by, interrupted, ended = None, False, False
            while True:
                stopped_by = self._stopped() or ("end of input" if ended else None)
                call = self._agreed(stopped_by)
                if call.stop:
                    break
                began = time.perf_counter()
                outcome = self._run(call)
                self._account(outcome, time.perf_counter() - began)
                ended = outcome.ended
                if outcome.values is not None:
                    self._report(outcome.values)
            stopped_by, interrupted = self._reason(stopped_by)
            self.hooks.session.complete = not interrupted
        for observer in self.observers:
            observer.finish()
        last = {name: float(value) for name, value in (self._last or {}).get("log", {}).items()}
        samples, *sums = self.peers.gather([self._samples, *self._sums.values()]).sum(axis=0)
        means = {name: float(total / samples) for name, total in zip(self._sums, sums, strict=True)} if samples else {}
        return Result(
            steps=self._done,
            samples=int(samples),
            stopped_by=stopped_by,
            interrupted=interrupted,
            last=last,
            means=means,
        )

    def _stopped(self) -> str | None:
        if self.interrupts.received:
            return self.interrupts.received
        if self.hooks.coordinator.stopped_by:
            return self.hooks.coordinator.stopped_by
        if self.max_steps is not None and self._done >= self.max_steps:
            return "max_number_of_steps"
        return None

    def _agreed(self, stopped_by: str | None) -> _Call:
        """Returns what all workers do next, where they train: the least that one of them wants.

        Raises:
            NanLossError: where a loss of one of them is not finite any more.
        """
        own = _Call(stop=True) if stopped_by else self._wanted()
        if not self.training:
            return own
        began = time.perf_counter()
        rows = self.peers.gather([own.stop, own.alone, own.steps, self._nan is not None])
        self._seconds_to_agree = time.perf_counter() - began
        stop, alone, steps, nan = rows.T
        if nan.any():
            raise NanLossError(self._nan or f"a loss of worker {int(nan.argmax())} is not finite: see its log.")
        return _Call(stop=bool(stop.any()), alone=bool(alone.any()), steps=int(steps.min()))

    def _reason(self, stopped_by: str | None) -> tuple[str, bool]:
        """Returns why the loop has stopped, and whether by a signal: what stopped the first worker that was stopped."""
        if not self.training or self.peers.number == 1:
            return str(stopped_by), bool(self.interrupts.received)
        told = self.peers.tell([stopped_by, bool(self.interrupts.received)])
        worker, (reason, interrupted) = next((n, each) for n, each in enumerate(told) if each[0])
        if not stopped_by:
            tf.get_logger().warning("worker %d ends the run: %s.", worker, reason)
        return str(reason), bool(interrupted)

    def _wanted(self) -> _Call:
        """Returns the steps up to the next one that somebody wants to see, that one included."""
        step = self._done
        wanted = [observer.next_step(step) for observer in self.observers]
        recorded, hooked = self._recorded(step), self.hooks.next_step(step)
        if step in {recorded, hooked}:
            return _Call(alone=True)
        # The special step itself is run alone, by a later call: this one stops before it.
        stops = [each + 1 for each in wanted if each is not None and each != recorded]
        stops += [each for each in (recorded, hooked, self.max_steps) if each is not None]
        count = min(stops, default=step + 1 + self._affordable()) - step
        return _Call(steps=max(1, min(count, self._affordable())))

    def _recorded(self, step: int) -> int | None:
        """Returns the next step that is to record summaries."""
        wanted = [observer.next_step(step) for observer in self.observers if observer.records]
        return min((each for each in wanted if each is not None), default=None)

    def _run(self, call: _Call) -> Outcome:
        if not call.alone:
            return self.steps.many(call.steps)
        step = self._done
        return self.hooks.run(step, self.first_global_step + step, record=step == self._recorded(step))

    def _affordable(self) -> int:
        seconds = max(_SECONDS_A_CALL, _CALL_TO_AGREEMENT * self._seconds_to_agree)
        return 1 if self._seconds_a_step is None else max(1, int(seconds / self._seconds_a_step))

    def _account(self, outcome: Outcome, seconds: float) -> None:
        if self._done and outcome.steps:  # the first call also compiles
            self._seconds_a_step = max(seconds / outcome.steps, 1e-6)
        self._done += outcome.steps
        self._samples += outcome.samples
        for name, total in outcome.sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(total)

    def _report(self, values: dict[str, Any]) -> None:
        self._last = values
        step = self._done - 1
        if bad := self._not_finite(values["losses"]):
            self._nan = (
                f"{bad} at global step {self.first_global_step + step}: training stops, and its weights are not saved. "
                "A lower learning rate, or a look at the input of this step, is the usual way out."
            )
            if self.peers.number == 1 or not self.training:
                raise NanLossError(self._nan)
            return  # all workers are told before one of them ends
        seen = Seen(
            step=step,
            global_step=self.first_global_step + step,
            values=values,
            samples=self._samples,
            now=time.perf_counter(),
        )
        for observer in self.observers:
            observer.see(seen)

    def _not_finite(self, losses: Sequence[Any]) -> str:
        """Returns which losses are not finite, in words; '' where all are."""
        named = zip(self.steps.graph.losses, losses, strict=True)
        return " and ".join(f"{loss.name} is {float(value)}" for loss, value in named if not np.isfinite(value))


@define
class LogLines:
    """The line of the manual, every n steps.

    Attributes:
        every: n.
        training: whether it is a line of TRAIN, at steps 0, n, 2n with the global step, or one of another mode.
    """

    every: int
    training: bool
    records: bool = field(default=False, init=False)
    _then: float = field(factory=time.perf_counter, init=False)
    _samples_then: int = field(default=0, init=False)

    def next_step(self, step: int) -> int | None:
        """The next step with a line."""
        return step + (-step if self.training else -step - 1) % self.every

    def see(self, seen: Seen) -> None:
        """Logs, if it is such a step."""
        if self.next_step(seen.step) != seen.step:
            return
        rate = (seen.samples - self._samples_then) / max(seen.now - self._then, 1e-9)
        self._then, self._samples_then = seen.now, seen.samples
        where = f"step: {seen.step}(global step: {seen.global_step})" if self.training else f"step: {seen.step}"
        values = [f"{name}: {float(value):.3f}" for name, value in seen.values["log"].items()]
        tf.get_logger().info("\t".join([where, f"sample/sec: {rate:.3f}", *values]))

    def finish(self) -> None:
        """Has nothing to finish."""


@define
class Outputs:
    """Windows of `output_info` for `output_fn`.

    Attributes:
        output_fn: the user's function of a list of dicts of arrays.
        every: how many steps a window holds; the last one may hold fewer.
    """

    output_fn: Callable[[list[dict[str, Any]]], Any]
    every: int
    records: bool = field(default=False, init=False)
    _window: list[dict[str, Any]] = field(factory=list, init=False)
    _steps: int = field(default=0, init=False)

    def next_step(self, step: int) -> int | None:
        """Every step."""
        return step

    def see(self, seen: Seen) -> None:
        """Keeps what the step put out, and hands a full window over."""
        self._window.extend(dict(outputs) for outputs in seen.values["outputs"])
        self._steps += 1
        if self._steps == self.every:
            self.finish()

    def finish(self) -> None:
        """Hands over what is left."""
        if self._window:
            window, self._window, self._steps = self._window, [], 0
            self.output_fn(window)
