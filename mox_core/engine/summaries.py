"""What TensorBoard shows: the values of the log, the learning rate, the speed, and the model's own summaries."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mox_core.engine.loop import Seen


@define
class Summaries:
    """Writes summaries at local steps 0, n, 2n.

    Attributes:
        writer: where they go.
        every: n.
        records: whether `model_fn` makes summaries of its own, which only a step run for it records.
    """

    writer: tf.summary.SummaryWriter
    every: int
    records: bool
    _then: tuple[int, float] | None = field(default=None, init=False)

    def next_step(self, step: int) -> int | None:
        """The next step of which something is written."""
        return step + -step % self.every

    def see(self, seen: Seen) -> None:
        """Writes, if it is such a step."""
        if seen.step % self.every:
            return
        scalars = dict(seen.values["log"])
        if "learning_rate" in seen.values:
            scalars["learning_rate"] = seen.values["learning_rate"]
        if self._then is not None:
            step, then = self._then
            scalars["global_step/sec"] = (seen.global_step - step) / max(seen.now - then, 1e-9)
        self._then = seen.global_step, seen.now
        write_scalars(self.writer, scalars, seen.global_step)

    def finish(self) -> None:
        """Leaves nothing in memory."""
        self.writer.flush()


def write_scalars(writer: tf.summary.SummaryWriter, scalars: dict[str, Any], step: int) -> None:
    """Writes numbers under their tags."""
    with writer.as_default():
        for tag, value in scalars.items():
            tf.summary.scalar(tag, tf.cast(value, tf.float32), step=step)


@contextlib.contextmanager
def open_writer(log_dir: Path, *, training: bool) -> Iterator[tf.summary.SummaryWriter]:
    """Opens where summaries go: TRAIN into log_dir itself, others beside it, as a run of their own in TensorBoard.

    TensorFlow makes the file at once. A run that wrote nothing to it, because it was refused for instance, leaves none.
    """
    folder = log_dir if training else log_dir / "eval"
    new_folders = [each for each in (folder, *folder.parents) if not each.exists()]
    pattern = f"events.out.tfevents.*.{os.getpid()}.*"
    before = set(folder.glob(pattern))
    writer = tf.summary.create_file_writer(str(folder))
    writer.flush()
    empty = {path: path.stat().st_size for path in folder.glob(pattern) if path not in before}
    try:
        yield writer
    finally:
        writer.close()
        for path, size in empty.items():
            if path.stat().st_size == size:
                path.unlink()
        with contextlib.suppress(OSError):  # what is in use is not empty
            for each in new_folders:
                each.rmdir()
