"""Writing checkpoints: whole or not at all, and as many as are to be kept.

`model.ckpt-<step>` is written in a hidden folder beside its place and renamed into it, the index last: a checkpoint
with an index is complete, whenever the process was killed.
"""

from __future__ import annotations

import os
import shutil
import time
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
        last_time: when it was written, in seconds of `time.monotonic`.
    """

    log_dir: Path
    state: RunState
    max_to_keep: int
    held: Held = field(factory=Held)
    recorder: Recorder | None = None
    last_step: int | None = None
    last_time: float = field(factory=time.monotonic)

    def __attrs_post_init__(self) -> None:
        with writing_into(self.log_dir, only=True):
            self.log_dir.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.log_dir)

    def save(self) -> str:
        """Write a checkpoint of the current step, unless there is one, and return its prefix.

        Raises:
            NanLossError: if a weight is not finite.
            LogDirError: if it cannot be written: then the checkpoints before it are as they were.
        """
        with writing_into(self.log_dir, only=True):
            return self._save()

    def _save(self) -> str:
        step = int(self.state.step)
        prefix = str(self.log_dir / f"{BASENAME}-{step}")
        if self.last_step != step or not checkpoint_exists(prefix):
            self._check_in_place()
            tf.get_logger().info("Saving checkpoints for %d into %s.", step, shown(self.log_dir / BASENAME))
            began = time.monotonic()
            self._write(prefix, step)
            if self.recorder is not None:
                self.recorder.spend(max(0, step - 1), "save", time.monotonic() - began)
            self.last_step, self.last_time = step, time.monotonic()
        self._keep_newest(step)
        self.held.remote.publish()
        return prefix

    def forget_last_step(self) -> None:
        """Write the checkpoint of the present step anew at the next save: the weights are others."""
        self.last_step = None

    def _check_in_place(self) -> None:
        if not self.held.lock.is_in_place():
            raise LogDirError(
                f"{str(self.log_dir)!r} was removed while this run wrote into it, or its lock was: another run may use "
                "that name now, and this one writes nothing there any more. Start it again to go on from what is there."
            )

    def _write(self, prefix: str, step: int) -> None:
        # Positions first: where other workers go on meanwhile, a resumed run sees a sample twice rather than never.
        tensors = self.state.input_positions()
        values = self.state.saved_values()
        self.state.check_finite(values)
        tensors |= values
        tensors[GLOBAL_STEP] = tf.constant(step, tf.int64)
        tensors[SEED] = tf.constant(self.state.seed, tf.int64)
        if self.state.classes:
            tensors[CLASSES] = tf.constant(self.state.classes)
        folder = self.log_dir / f"{UNFINISHED}{os.getpid()}"
        folder.mkdir(exist_ok=True)
        try:
            self._write_files(folder, prefix, tensors)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # of a full disk, for instance
        sync_to_disk(self.log_dir)

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
