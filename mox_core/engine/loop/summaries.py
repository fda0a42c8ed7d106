"""What TensorBoard shows: the values of the log, the learning rate, the speed, and the model's own summaries."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.loop.schedule import EverySteps
from mox_core.engine.model.tracing import no_summaries
from mox_core.engine.run_folder import why_not_written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mox_core.engine.loop.observers import Observer, StepReport


_PICTURE: Final = 320
"""The width of the picture of a matrix in pixels, about."""


class NoSummaryWriter:
    """The summaries of a run without log_dir, which are not written."""

    scope = staticmethod(no_summaries)

    def observers(self, every: int, *, records: bool) -> list[Observer]:
        """Return no observers."""
        del every, records
        return []

    def write(self, values: Mapping[str, Any], step: int) -> None:
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
            # At its end the context would have each step flush the writer, on the machine where that is.
            stack.callback(delattr, self.writer, "flush")
            stack.enter_context(self.writer.as_default())
            self.writer.flush = lambda: None
            stack.enter_context(tf.summary.record_if(record))
            yield

    def observers(self, every: int, *, records: bool) -> list[Observer]:
        """Return what writes summaries at the local steps 0, n, 2n.

        Args:
            every: n.
            records: whether `model_fn` makes summaries of its own, which only a step run for it records.
        """
        return [_SummaryObserver(self, EverySteps(every), records)]

    def write(self, values: Mapping[str, Any], step: int) -> None:
        """Write values under their tags, to the disk; see `add`. Where that fails it is said: the log has them, too."""
        try:
            self.add(values, step)
            self.writer.flush()
        except tf.errors.OpError as error:
            why = why_not_written(error, Path(), only=True)
            tf.get_logger().warning("summaries of step %d are not written: %s.", step, why)

    def add(self, values: Mapping[str, Any], step: int) -> None:
        """Add values to what is written next: a vector as a scalar for each class, a matrix as a picture."""
        with self.writer.as_default():
            for tag, value in values.items():
                array = np.asarray(value, np.float32)
                if array.ndim == 2:  # noqa: PLR2004
                    tf.summary.image(tag, matrix_picture(array)[np.newaxis], step=step)
                elif array.ndim:
                    for number, each in enumerate(array.ravel()):
                        tf.summary.scalar(f"{tag}/{number}", each, step=step)
                else:
                    tf.summary.scalar(tag, array, step=step)


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
        scalars = report.log()
        if "learning_rate" in report.values:
            scalars["learning_rate"] = report.values["learning_rate"]
        if self._last is not None:
            step, then = self._last
            scalars["global_step/sec"] = (report.global_step - step) / max(report.now - then, 1e-9)
        self._last = report.global_step, report.now
        self.writer.add(scalars, report.global_step)

    def finish(self) -> None:
        self.writer.writer.flush()


def matrix_picture(matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a picture of a matrix with a row of squares for each row, dark blue for 0 to yellow for the row's total.

    A confusion matrix has a row for each true class: the diagonal of a good model is yellow.

    Args:
        matrix: numbers from 0, float32 [rows, columns].

    Returns:
        uint8 [height, width, 3].
    """
    shares = np.nan_to_num(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)).clip(0, 1)
    low, high = np.array([20, 30, 90]), np.array([250, 220, 60])
    colours = low + shares[..., np.newaxis] * (high - low)
    side = max(1, _PICTURE // max(matrix.shape))
    return np.repeat(np.repeat(colours.round().astype(np.uint8), side, axis=0), side, axis=1)


@contextlib.contextmanager
def open_writer(log_dir: Path | None, *, training: bool) -> Iterator[SummaryWriter | NoSummaryWriter]:
    """Open the summaries of a run: TRAIN in log_dir itself, other modes beside it, as another run of TensorBoard.

    TensorFlow makes the file at once. A run that wrote nothing to it, because it was refused for instance, leaves none.
    Where a run that does not train cannot write, it says so and goes on: its results are in the log, too.
    """
    if log_dir is None:
        yield NoSummaryWriter()
        return
    folder = log_dir if training else log_dir / "eval"
    new_folders = [each for each in (folder, *folder.parents) if not each.exists()]
    pattern = f"events.out.tfevents.*.{os.getpid()}.*"
    before = set(folder.glob(pattern))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer = tf.summary.create_file_writer(str(folder))
        writer.flush()
    except (OSError, tf.errors.OpError) as error:
        if training:
            raise
        why = why_not_written(error, log_dir, only=True)
        tf.get_logger().warning("no summaries are written into %r: %s.", str(folder), why)
        _remove_new({}, new_folders)
        yield NoSummaryWriter()
        return
    empty = {path: path.stat().st_size for path in folder.glob(pattern) if path not in before}
    try:
        yield SummaryWriter(writer)
    finally:
        writer.close()
        _remove_new(empty, new_folders)


def _remove_new(files: Mapping[Path, int], folders: Sequence[Path]) -> None:
    """Remove files that have the size with which they were made, and folders that are empty."""
    with contextlib.suppress(OSError):  # log_dir may have gone; what is in use is not empty
        for path, size in files.items():
            if path.stat().st_size == size:
                path.unlink()
        for each in folders:
            each.rmdir()
