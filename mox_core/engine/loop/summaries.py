"""What TensorBoard shows: the values of the log, the learning rate, the speed, and the model's own summaries."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.loop.schedule import EverySteps
from mox_core.engine.model.tracing import no_summaries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mox_core.engine.loop.observers import Observer, StepReport


class NoSummaryWriter:
    """The summaries of a run without log_dir, which are not written."""

    scope = staticmethod(no_summaries)

    def observers(self, every: int, *, records: bool) -> list[Observer]:
        """Return no observers."""
        del every, records
        return []

    def write(self, scalars: Mapping[str, Any], step: int) -> None:
        """Write nothing."""


@frozen
class SummaryWriter:
    """The summaries of a run.

    Attributes:
        writer: where they are written.
    """

    writer: tf.summary.SummaryWriter

    @contextlib.contextmanager
    def scope(self, record: tf.Tensor, step: tf.Variable) -> Iterator[None]:
        """Make summary operations of the block, of TF2 and of TF1, write at the steps at which `record` is true."""
        with contextlib.ExitStack() as stack:
            stack.callback(tf.summary.experimental.set_step, tf.summary.experimental.get_step())
            tf.summary.experimental.set_step(step.read_value())
            stack.enter_context(self.writer.as_default())
            stack.enter_context(tf.summary.record_if(record))
            yield

    def observers(self, every: int, *, records: bool) -> list[Observer]:
        """Return what writes summaries at the local steps 0, n, 2n.

        Args:
            every: n.
            records: whether `model_fn` makes summaries of its own, which only a step run for it records.
        """
        return [_SummaryObserver(self, EverySteps(every), records)]

    def write(self, scalars: Mapping[str, Any], step: int) -> None:
        """Write scalars under their tags, to the disk."""
        self.add(scalars, step)
        self.writer.flush()

    def add(self, scalars: Mapping[str, Any], step: int) -> None:
        """Add scalars under their tags to what is written next."""
        with self.writer.as_default():
            for tag, value in scalars.items():
                tf.summary.scalar(tag, tf.cast(value, tf.float32), step=step)


@define
class _SummaryObserver:
    writer: SummaryWriter
    schedule: EverySteps
    records: bool
    _last: tuple[int, float] | None = field(default=None, init=False)

    def next_step(self, step: int) -> int | None:
        return self.schedule.next_step(step)

    def after_step(self, report: StepReport) -> None:
        if not self.schedule.is_due(report.step):
            return
        scalars = dict(report.values["log"])
        if "learning_rate" in report.values:
            scalars["learning_rate"] = report.values["learning_rate"]
        if self._last is not None:
            step, then = self._last
            scalars["global_step/sec"] = (report.global_step - step) / max(report.now - then, 1e-9)
        self._last = report.global_step, report.now
        self.writer.add(scalars, report.global_step)

    def finish(self) -> None:
        self.writer.writer.flush()


@contextlib.contextmanager
def open_writer(log_dir: Path | None, *, training: bool) -> Iterator[SummaryWriter | NoSummaryWriter]:
    """Open the summaries of a run: TRAIN in log_dir itself, other modes beside it, as another run of TensorBoard.

    TensorFlow makes the file at once. A run that wrote nothing to it, because it was refused for instance, leaves none.
    """
    if log_dir is None:
        yield NoSummaryWriter()
        return
    folder = log_dir if training else log_dir / "eval"
    new_folders = [each for each in (folder, *folder.parents) if not each.exists()]
    pattern = f"events.out.tfevents.*.{os.getpid()}.*"
    before = set(folder.glob(pattern))
    writer = tf.summary.create_file_writer(str(folder))
    writer.flush()
    empty = {path: path.stat().st_size for path in folder.glob(pattern) if path not in before}
    try:
        yield SummaryWriter(writer)
    finally:
        writer.close()
        for path, size in empty.items():
            if path.stat().st_size == size:
                path.unlink()
        with contextlib.suppress(OSError):  # what is in use is not empty
            for each in new_folders:
                each.rmdir()
