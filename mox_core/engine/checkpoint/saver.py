"""Writing checkpoints: whole or not at all, and as many as are to be kept.

`model.ckpt-<step>` is written in a hidden folder beside its place and renamed into it, the index last: a checkpoint
with an index is complete, whenever the process was killed.

A thread writes the values of one moment while the training goes on. Only one checkpoint is under way: the next one, and
whoever needs the files, waits for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.datasets.whole_sets import sync_to_disk
from mox_core.engine.checkpoint.files import (
    BASENAME,
    UNFINISHED,
    checkpoint_exists,
    own_prefixes,
    remove_checkpoint,
    remove_unfinished,
    step_of,
    write_state_file,
)
from mox_core.engine.run_folder import writing_into
from mox_core.engine.variables.names import CLASSES, GLOBAL_STEP, SEED
from mox_core.errors import LogDirError
from mox_core.log_dir import Held
from mox_core.quoting import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_core.engine.variables.run_state import RunState
    from mox_core.run_history import Recorder


@frozen
class NoSaver:
    """The saver of a run that writes no checkpoints.

    Attributes:
        prefix: the checkpoint that the run started from, None where there is none.
    """

    prefix: str | None

    def save(self) -> str | None:
        """Return the prefix of the checkpoint that the run started from."""
        return self.prefix

    def forget_last_step(self) -> None:
        """Do nothing."""


@define
class Saver:
    """The checkpoints of a run in a folder.

    Attributes:
        log_dir: the folder.
        state: what is saved.
        max_to_keep: how many checkpoints stay, the newest ones; 0 for all.
        held: what keeps other runs from the folder, and where its files go besides.
        recorder: keeps how long each save took; None for nothing.
        last_step: the step of the newest checkpoint, None before the first.
        last_time: when it was written or begun, in seconds of `time.monotonic`.
    """

    log_dir: Path
    state: RunState
    max_to_keep: int
    held: Held = field(factory=Held)
    recorder: Recorder | None = None
    last_step: int | None = None
    last_time: float = field(factory=time.monotonic)
    _under_way: Future[None] | None = field(default=None, init=False)
    _thread: ThreadPoolExecutor | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        with writing_into(self.log_dir, only=True):
            self.log_dir.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.log_dir)

    def save(self) -> str:
        """Write a checkpoint of the current step, unless there is one, and return its prefix.

        Raises:
            NanLossError: if a weight is not finite.
            LogDirError: if it, or the one before it, cannot be written: then those before are as they were.
        """
        return self._save(behind=False)

    def begin(self) -> None:
        """Begin to write a checkpoint of the current step, unless there is one.

        Raises:
            NanLossError: if a weight is not finite.
            LogDirError: if the one before it cannot be written: then those before are as they were.
        """
        self._save(behind=True)

    def look(self) -> None:
        """Raise what has kept the checkpoint under way from being written, and upload it if it is whole by now.

        Raises:
            LogDirError: if it cannot be written: then the checkpoints before it are as they were.
        """
        if self._under_way is not None and self._under_way.done():
            self._wait()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Wait at the end of the block until nothing is under way, also where the block raises."""
        try:
            yield
        except BaseException:
            try:
                self._wait()
            except Exception as error:  # noqa: BLE001  (what the block raised goes on)
                tf.get_logger().error("%s", error)
            raise
        else:
            self._wait()
        finally:
            if self._thread is not None:
                self._thread.shutdown()

    def _save(self, *, behind: bool) -> str:
        """Write a checkpoint, or let the thread do so behind the training, and return its prefix."""
        # Positions first: where other workers go on meanwhile, a resumed run sees a sample twice rather than never.
        positions, step, began = self.state.input_positions(), int(self.state.step), time.monotonic()
        prefix = str(self.log_dir / f"{BASENAME}-{step}")
        if behind and self._under_way is not None and self.last_step == step:
            return prefix
        self._wait()  # the values of two moments would take twice the memory
        with writing_into(self.log_dir, only=True):
            if self.last_step == step and checkpoint_exists(prefix):
                self._keep_newest(step)
            else:
                self._check_in_place()
                tf.get_logger().info("Saving checkpoints for %d into %s.", step, shown(self.log_dir / BASENAME))
                self._write_or_begin(prefix, step, positions, behind=behind)
                if self.recorder is not None:
                    self.recorder.spend(max(0, step - 1), "save", time.monotonic() - began)
                self.last_step, self.last_time = step, time.monotonic()
            if self._under_way is None:
                self.held.remote.publish()
        return prefix

    def _write_or_begin(self, prefix: str, step: int, positions: dict[str, tf.Tensor], *, behind: bool) -> None:
        values = self._values(step, positions)
        if not behind:
            self._write(prefix, step, values)
            return
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="mox-saver")
        self._under_way = self._thread.submit(self._write, prefix, step, values)

    def _wait(self) -> None:
        """Wait until the checkpoint under way is whole, then upload it."""
        if self._under_way is None:
            return
        try:
            with writing_into(self.log_dir, only=True):
                self._under_way.result()
        finally:
            if self._under_way.done():  # else a signal has ended the waiting
                self._under_way = None
        self.held.remote.publish()  # here: the other files of the folder are this thread's, none of them half written

    def forget_last_step(self) -> None:
        """Write the checkpoint of the present step anew at the next save: the weights are others."""
        self.last_step = None

    def _check_in_place(self) -> None:
        if not self.held.lock.is_in_place():
            raise LogDirError(
                f"{str(self.log_dir)!r} was removed while this run wrote into it, or its lock was: another run may use "
                "that name now, and this one writes nothing there any more. Start it again to go on from what is there."
            )

    def _values(self, step: int, positions: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return what a checkpoint holds, of this moment and in the memory of this process."""
        values = self.state.saved_values()
        self.state.check_finite(values)
        tensors = positions | values
        tensors[GLOBAL_STEP] = tf.constant(step, tf.int64)
        tensors[SEED] = tf.constant(self.state.seed, tf.int64)
        if self.state.classes:
            tensors[CLASSES] = tf.constant(self.state.classes)
        # A value that was read stays as it is: whoever changes the variable copies it first, on a CPU as elsewhere.
        with tf.device("CPU:0"):
            return {name: tf.identity(tensor) for name, tensor in tensors.items()}

    def _write(self, prefix: str, step: int, tensors: dict[str, tf.Tensor]) -> None:
        """Write a checkpoint in place of the oldest one that is kept."""
        folder = self.log_dir / f"{UNFINISHED}{os.getpid()}"
        try:
            folder.mkdir(exist_ok=True)
            self._write_files(folder, prefix, tensors)
            sync_to_disk(self.log_dir)
            self._keep_newest(step)
        except (OSError, tf.errors.OpError):
            self._check_in_place()  # which says why, if it was removed meanwhile
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # of a full disk, for instance

    def _write_files(self, folder: Path, prefix: str, tensors: dict[str, tf.Tensor]) -> None:
        """Write a checkpoint into an empty folder, and rename its files into their place."""
        names = sorted(tensors)
        tf.raw_ops.SaveV2(
            prefix=str(folder / Path(prefix).name),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tensors[name] for name in names],
        )
        files = sorted(folder.iterdir(), key=lambda path: path.name.endswith(".index"))
        for path in files:
            sync_to_disk(path)
        self._check_in_place()  # writing takes its time
        # The run may stand at a step of which there is a damaged checkpoint: its index goes first, comes last.
        Path(prefix + ".index").unlink(missing_ok=True)
        for path in files:
            path.replace(self.log_dir / path.name)

    def _keep_newest(self, step: int) -> None:
        # A checkpoint of a later step is damaged, or this run would have started there: it is left alone.
        prefixes = [prefix for prefix in own_prefixes(self.log_dir) if step_of(prefix) <= step]
        kept = prefixes[-self.max_to_keep :]
        write_state_file(self.log_dir, kept)  # before the old ones go: it never names one that is gone
        for old in prefixes[: -len(kept)]:
            remove_checkpoint(old)
