"""Writing checkpoints: whole or not at all, as many as are to be kept.

`model.ckpt-<step>` is written in a hidden folder beside its place and renamed into it, the index last: what has an
index is complete, whenever the process was killed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf
from attrs import define, field

from mox_core.engine import checkpoint
from mox_core.engine.checkpoint import BASENAME, exists, own_prefixes
from mox_core.engine.state import GLOBAL_STEP, OF_A_RUN, SEED, RunState
from mox_core.errors import CheckpointError

if TYPE_CHECKING:
    from mox_core.engine.loop import Seen

_UNFINISHED = ".unfinished-"


@define
class Saver:
    """Writes the checkpoints of a run into its log_dir.

    Attributes:
        log_dir: the folder.
        state: what is saved.
        max_to_keep: how many checkpoints stay, the newest; 0 for all.
        last_step: the step of the newest one, None before the first.
        last_time: when it was written, in seconds of `time.monotonic`.
    """

    log_dir: Path
    state: RunState
    max_to_keep: int
    last_step: int | None = None
    last_time: float = field(factory=time.monotonic)

    def __attrs_post_init__(self) -> None:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        _sweep(self.log_dir)

    def save(self) -> str:
        """Writes a checkpoint of the current step, unless there is one, and returns its prefix."""
        step = int(self.state.step)
        prefix = str(self.log_dir / f"{BASENAME}-{step}")
        if self.last_step != step or not exists(prefix):
            tf.get_logger().info("Saving checkpoints for %d into %s.", step, self.log_dir / BASENAME)
            self._write(prefix, step)
            self.last_step, self.last_time = step, time.monotonic()
        self._keep_newest(step)
        return prefix

    def _write(self, prefix: str, step: int) -> None:
        # The positions first: where other workers go on meanwhile, a resumed run sees a sample twice rather than never.
        tensors = self.state.input_positions()
        tensors |= {name: variable.read_value() for name, variable in self.state.model_variables().items()}
        tensors[GLOBAL_STEP] = tf.constant(step, tf.int64)
        tensors[SEED] = tf.constant(self.state.seed, tf.int64)
        names = sorted(tensors)
        place = self.log_dir / f"{_UNFINISHED}{os.getpid()}"
        place.mkdir(exist_ok=True)
        inner = str(place / Path(prefix).name)
        tf.raw_ops.SaveV2(
            prefix=inner, tensor_names=names, shape_and_slices=[""] * len(names), tensors=[tensors[n] for n in names]
        )
        files = sorted(place.iterdir(), key=lambda path: path.name.endswith(".index"))
        for path in files:
            _flush(path)
        # A second run may stand at a step that a damaged checkpoint has: its index goes first, comes last.
        Path(prefix + ".index").unlink(missing_ok=True)
        for path in files:
            path.replace(self.log_dir / path.name)
        place.rmdir()
        _flush(self.log_dir)

    def _keep_newest(self, step: int) -> None:
        # One of a later step is damaged, or this run would have started there. It is in nobody's way, and stays.
        prefixes = [prefix for prefix in own_prefixes(self.log_dir) if _step_of(prefix) <= step]
        kept = prefixes[-self.max_to_keep :]
        _write_state_file(self.log_dir, kept)  # before it names what is gone
        for old in prefixes[: -len(kept)]:
            _remove(old)


@define
class PeriodicSaver:
    """Saves every n steps or every n seconds, as an observer of the loop.

    Attributes:
        saver: what writes.
        every_steps: n steps; None where the time decides.
        every_seconds: n seconds, looked at after each call of steps.
        first_global_step: the global step of local step 0.
        records: it wants no summaries.
    """

    saver: Saver
    every_steps: int | None
    every_seconds: float | None
    first_global_step: int
    records: bool = field(default=False, init=False)

    def next_step(self, step: int) -> int | None:
        """The step after which the global step is a multiple of n."""
        return None if self.every_steps is None else step + -(self.first_global_step + step + 1) % self.every_steps

    def see(self, seen: Seen) -> None:
        """Saves if it is time."""
        if self.every_steps is not None:
            due = (seen.global_step + 1) % self.every_steps == 0
        else:
            due = self.every_seconds is not None and time.monotonic() - self.saver.last_time >= self.every_seconds
        if due:
            self.saver.save()

    def finish(self) -> None:
        """Saves the last step."""
        self.saver.save()


@define
class BestWeights:
    """The checkpoint that a hook keeps as the best: one, in `<log_dir>/best`, or in a temporary folder without log_dir.

    Attributes:
        saver: that of the run; None without log_dir.
        state: what is saved.
    """

    saver: Saver | None
    state: RunState
    _own: Saver | None = field(default=None, init=False)

    def save(self) -> str:
        """Writes the present weights, removes those kept before, and returns the prefix."""
        peers = self.state.replicator.peers
        return str(peers.from_chief(self._save() if peers.index == 0 else None))

    def _save(self) -> str:
        saver = self._opened()
        prefix = saver.save()
        for old in own_prefixes(saver.log_dir):
            if old != prefix:  # of a later step too: what a run left that was killed, and went on from an earlier one
                _remove(old)
        return prefix

    def restore(self) -> str:
        """Gives the model and its optimizers the values kept, and returns the prefix.

        Raises:
            CheckpointError: where there are none.
        """
        peers = self.state.replicator.peers
        prefix = peers.from_chief(self._restore() if peers.index == 0 else None)
        self.state.share_chiefs_values()
        return str(prefix)

    def _restore(self) -> str:
        folder = self._opened().log_dir
        found = checkpoint.newest(folder)
        if found is None:
            msg = f"there are no best weights in {str(folder)!r}: a hook has to save them before it restores them."
            raise CheckpointError(msg)
        weights = {name: each for name, each in self.state.store.by_name.items() if not name.startswith(OF_A_RUN)}
        checkpoint.restore(found, weights, partial=False)
        if self.saver:
            self.saver.last_step = None  # what it has written of this step are other weights
        return found.prefix

    def close(self) -> None:
        """Removes a temporary folder."""
        if self._own and not self.saver:
            shutil.rmtree(self._own.log_dir, ignore_errors=True)

    def _opened(self) -> Saver:
        if self._own is None:
            folder = self.saver.log_dir / "best" if self.saver else Path(tempfile.mkdtemp(prefix="mox-best-"))
            self._own = Saver(folder, self.state, max_to_keep=1)
        return self._own


def _sweep(log_dir: Path) -> None:
    """Removes what a killed process has left: unfinished files, and data whose index was never written."""
    for leftover in log_dir.glob(f"{_UNFINISHED}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    for data in log_dir.glob(f"{BASENAME}-*.data-*"):
        prefix = str(data).rpartition(".data-")[0]
        if not exists(prefix):
            data.unlink(missing_ok=True)


def _remove(prefix: str) -> None:
    """Removes the files of a checkpoint, the index first: without it, none is there."""
    Path(prefix + ".index").unlink(missing_ok=True)
    for path in Path(prefix).parent.glob(f"{Path(prefix).name}.*"):
        path.unlink(missing_ok=True)


def _step_of(prefix: str) -> int:
    return int(prefix.rpartition("-")[2])


def _write_state_file(log_dir: Path, prefixes: list[str]) -> None:
    """Writes the file `checkpoint`, by which `tf.train.latest_checkpoint` and TensorBoard find the newest one."""
    names = [json.dumps(Path(prefix).name) for prefix in prefixes]
    lines = [f"model_checkpoint_path: {names[-1]}", *(f"all_model_checkpoint_paths: {name}" for name in names)]
    unfinished = log_dir / f"{_UNFINISHED}state"
    unfinished.write_text("\n".join(lines) + "\n")
    unfinished.replace(log_dir / "checkpoint")


def _flush(path: Path) -> None:
    """Makes a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
