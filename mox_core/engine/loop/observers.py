"""Observers of the loop: what is done between calls of steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.metric_text import metric_text
from mox_core.quoting import shown
from mox_core.terminal.parts import ROUTINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_core.engine.checkpoint.saver import Saver
    from mox_core.engine.loop.schedule import EverySteps
    from mox_core.engine.model.metrics import Metrics
    from mox_core.run_history import Recorder
    from mox_core.terminal.parts import Progress


_SECONDS_BETWEEN_SHOWN: Final = 0.2


@frozen(kw_only=True)
class StepReport:
    """A step that has run, as observers see it.

    Attributes:
        step: the local step, 0 for the first of the run.
        global_step: the global step with which it ran.
        values: its results: 'losses', 'log', 'outputs', 'learning_rate'.
        samples: samples of the run so far, this step's included.
        now: seconds of `time.perf_counter`.
        metrics: the metrics of the graph.
    """

    step: int
    global_step: int
    values: dict[str, Any]
    samples: int
    now: float
    metrics: Metrics

    def log(self) -> dict[str, Any]:
        """Return the log values: of metrics those since the last line of the log, on this worker."""
        return self.metrics.with_values(self.values["log"])


class Observer(Protocol):
    """Something that is done after some steps."""

    records: bool
    """Whether the steps that it wants to see are to record summaries."""

    def next_step(self, step: int) -> int | None:
        """Return the next local step, `step` or later, that it wants to see; None for none."""

    def after_step(self, report: StepReport) -> None:
        """Handle the last step of a call; called after every call, also for steps that it does not want to see."""

    def finish(self) -> None:
        """Finish, when the loop has ended without an error."""


@define
class LogLines:
    """The manual's log line, at some steps, and the line of a terminal.

    Attributes:
        schedule: at which steps.
        training: whether the line is that of TRAIN, with the global step.
        recorder: keeps what the lines say.
        progress: the line of a terminal.
        samples_per_epoch: how many samples the input has, on all workers; None where that is not known.
    """

    schedule: EverySteps
    training: bool
    recorder: Recorder
    progress: Progress
    samples_per_epoch: int | None
    records: bool = field(default=False, init=False)
    _last_time: float = field(factory=time.perf_counter, init=False)
    _last_samples: int = field(default=0, init=False)
    _said: str = field(default="", init=False)
    _shown: float = field(default=0.0, init=False)

    def next_step(self, step: int) -> int | None:
        """Return the next step with a line."""
        return self.schedule.next_step(step)

    def after_step(self, report: StepReport) -> None:
        """Log the line of a step that has one, and show how far the run is."""
        if self.schedule.is_due(report.step):
            self._log(report)
        if report.now - self._shown >= _SECONDS_BETWEEN_SHOWN:
            self._shown = report.now
            self.progress.show(
                (report.global_step if self.training else report.step) + 1, self._epoch(report) + self._said
            )

    def _log(self, report: StepReport) -> None:
        rate = (report.samples - self._last_samples) / max(report.now - self._last_time, 1e-9)
        self._last_time, self._last_samples = report.now, report.samples
        where = f"step: {report.step}(global step: {report.global_step})" if self.training else f"step: {report.step}"
        values = report.log()
        texts = [f"{shown(name)}: {metric_text(value)}" for name, value in values.items()]
        tf.get_logger().info("\t".join([where, f"sample/sec: {rate:.3f}", *texts]), extra={ROUTINE: True})
        rates = {name: report.values[name] for name in ("learning_rate",) if name in report.values}
        self.recorder.add(report.global_step if self.training else report.step, values | rates | {"sample/sec": rate})
        self._said = "  ".join([f"{rate:,.0f} samples/s", *texts])
        if self.training:
            report.metrics.begin_after()

    def _epoch(self, report: StepReport) -> str:
        if not (self.training and self.samples_per_epoch):
            return ""
        samples = report.samples / (report.step + 1) * (report.global_step + 1)
        return f"epoch {samples / self.samples_per_epoch:.1f}  "

    def finish(self) -> None:
        """Do nothing."""


@define
class OutputWindows:
    """Windows of `output_info` for `output_fn`.

    Attributes:
        output_fn: the user's function of a list of dicts of arrays.
        every: how many steps a window holds; the last one may hold fewer.
        at_once: whether it sees each step before the next one is run: in a training, whose weights change.
    """

    output_fn: Callable[[list[dict[str, Any]]], Any]
    every: int
    at_once: bool
    records: bool = field(default=False, init=False)
    _window: list[dict[str, Any]] = field(factory=list, init=False)
    _steps: int = field(default=0, init=False)

    def next_step(self, step: int) -> int | None:
        """Return the step, if a call is not to go beyond it."""
        return step if self.at_once else None

    def after_step(self, report: StepReport) -> None:
        """Add the outputs of the step to the window, and hand a full window over."""
        self.add(report.values["outputs"])

    def add(self, outputs: list[dict[str, Any]]) -> None:
        """Add the outputs of a step, those of each replica."""
        self._window.extend(dict(each) for each in outputs)
        self._steps += 1
        if self._steps == self.every:
            self.finish()

    def finish(self) -> None:
        """Hand over what is left."""
        if self._window:
            window, self._window, self._steps = self._window, [], 0
            self.output_fn(window)


@define
class SaveEverySteps:
    """Checkpoints at some steps.

    Attributes:
        saver: writes them.
        schedule: at which steps.
    """

    saver: Saver
    schedule: EverySteps
    records: bool = field(default=False, init=False)

    def next_step(self, step: int) -> int | None:
        """Return the next step after which it saves."""
        return self.schedule.next_step(step)

    def after_step(self, report: StepReport) -> None:
        """Begin to save if it is such a step."""
        if self.schedule.is_due(report.step):
            self.saver.begin()
        self.saver.look()

    def finish(self) -> None:
        """Save the last step."""
        self.saver.save()


@define
class SaveEverySeconds:
    """Checkpoints after some time.

    Attributes:
        saver: writes them.
        seconds: from one checkpoint to the next; looked at after each call of steps.
    """

    saver: Saver
    seconds: float | None
    records: bool = field(default=False, init=False)

    def next_step(self, step: int) -> None:
        """Return None: it waits for no step."""

    def after_step(self, report: StepReport) -> None:
        """Begin to save if the time has passed."""
        del report
        if self.seconds is not None and time.monotonic() - self.saver.last_time >= self.seconds:
            self.saver.begin()
        self.saver.look()

    def finish(self) -> None:
        """Save the last step."""
        self.saver.save()
