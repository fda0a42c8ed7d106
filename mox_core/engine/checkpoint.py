"""Checkpoints: TensorFlow's own format, keyed by variable name, whole or not there at all.

`model.ckpt-<step>` is written in a hidden folder beside its place and renamed into it, the index last: what has an
index is complete, whenever the process was killed. A damaged one is found by the checksums that TensorFlow keeps for
each tensor.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.state import GLOBAL_STEP, POSITIONS, SEED, RunState
from mox_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from mox_core.engine.loop import Seen

_BASENAME = "model.ckpt"
_OWN = re.compile(rf"{re.escape(_BASENAME)}-(\d+)\.index")
_UNFINISHED = ".unfinished-"
_LISTED = 10

# What TensorFlow raises for a checkpoint that is cut off or overwritten: an IndexError for an empty index, for
# instance.
_DAMAGE = (tf.errors.OpError, IndexError, ValueError, RuntimeError, OSError)


@frozen
class Checkpoint:
    """A checkpoint that has been read and found whole.

    Attributes:
        prefix: its path without the endings of its files.
        values: every tensor by name.
    """

    prefix: str
    values: dict[str, np.ndarray[Any, Any]] = field(repr=False)

    @property
    def step(self) -> int:
        """The global step at which it was written, 0 where it has none."""
        return int(self.values.get(GLOBAL_STEP, 0))

    @property
    def seed(self) -> int | None:
        """The seed of the run that wrote it; None where mox did not."""
        seed = self.values.get(SEED)
        return None if seed is None else int(seed)

    def restore_positions(self, state: RunState) -> None:
        """Lets the input go on where the run stopped."""
        positions = self.values.get(POSITIONS)
        if positions is not None and positions.shape == tuple(state.positions.shape):
            state.positions.assign(positions)
        else:
            tf.get_logger().warning(
                "the input of this run has other sources than that of %s: it starts from its beginning.", self.prefix
            )


def newest(log_dir: str | os.PathLike[str]) -> Checkpoint | None:
    """Returns the newest whole checkpoint of a run, None where there is none.

    A damaged one is named in a warning, and the one before it is used.

    Raises:
        CheckpointError: where there are checkpoints, and all are damaged.
    """
    prefixes = _own_prefixes(Path(log_dir)) or _foreign_prefixes(log_dir)
    for prefix in reversed(prefixes):
        try:
            return read(prefix)
        except CheckpointError as error:
            tf.get_logger().warning("%s Trying the one before it.", error)
    if prefixes:
        msg = (
            f"every checkpoint in {str(log_dir)!r} is damaged: {', '.join(map(repr, prefixes))}. "
            "Use another log_dir to start anew."
        )
        raise CheckpointError(msg)
    return None


def at(path: str | os.PathLike[str]) -> Checkpoint:
    """Returns the checkpoint at a path: a folder, or a prefix such as `resnet_v1_50.ckpt`.

    Raises:
        CheckpointError: where there is none.
    """
    if Path(path).is_dir():
        found = newest(path)
        if found is None:
            msg = f"checkpoint_path {str(path)!r} is a folder without a checkpoint."
            raise CheckpointError(msg)
        return found
    prefix = re.sub(r"\.(index|data-\d+-of-\d+|meta)$", "", str(path))
    if not _exists(prefix):
        msg = (
            f"checkpoint_path {str(path)!r} is neither a folder nor the prefix of a checkpoint: "
            f"there is no {prefix + '.index'!r}."
        )
        raise CheckpointError(msg)
    return read(prefix)


def read(prefix: str) -> Checkpoint:
    """Reads all of a checkpoint, which also checks it.

    Raises:
        CheckpointError: where it is damaged.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
        return Checkpoint(prefix, {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})
    except _DAMAGE as error:
        msg = (
            f"checkpoint {prefix!r} is damaged ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''})."
        )
        raise CheckpointError(msg) from error


def ignored(log_dir: object) -> None:
    """Says that checkpoint_path is not used, as the original did."""
    tf.get_logger().info("Ignoring --checkpoint_path because a checkpoint already exists in %s", log_dir)


def restore(
    checkpoint: Checkpoint, variables: dict[str, tf.Variable], *, partial: bool, chosen: Choice | None = None
) -> None:
    """Gives variables the values that a checkpoint has under their names.

    Args:
        checkpoint: where the values come from.
        variables: the variables by name.
        partial: whether variables that it lacks keep their initial values (fine-tuning), instead of being an error.
        chosen: which names are restored at all; None for all.

    Raises:
        CheckpointError: with the names that are missing or of another shape.
    """
    wanted = {name: variable for name, variable in variables.items() if chosen is None or chosen(name)}
    other_shape = [
        f"{name} (model {tuple(variable.shape)}, checkpoint {checkpoint.values[name].shape})"
        for name, variable in wanted.items()
        if name in checkpoint.values and not variable.shape.is_compatible_with(checkpoint.values[name].shape)
    ]
    # The step is no weight: what other programs wrote may do without it.
    missing = [name for name in wanted if name not in checkpoint.values and name != GLOBAL_STEP]
    unused = [
        name for name in checkpoint.values if name not in wanted and name not in (POSITIONS, SEED, "save_counter")
    ]
    if other_shape:
        msg = (
            f"{len(other_shape)} variables have another shape in checkpoint {checkpoint.prefix!r}: "
            f"{_list(other_shape)}. "
            + (
                "Leave them out with --checkpoint_exclude_patterns=<name>,... , or build the model that wrote it."
                if chosen
                else "To train a changed model, use a new log_dir, and pass the old one as checkpoint_path."
            )
        )
        raise CheckpointError(msg)
    if missing and not partial:
        msg = (
            f"{len(missing)} variables of the model are not in checkpoint {checkpoint.prefix!r}: {_list(missing)}. "
            "To train on from its values with a changed model, "
            "use a new log_dir and pass the old one as checkpoint_path."
        )
        raise CheckpointError(msg)
    if missing and not any(name in checkpoint.values for name in wanted if name != GLOBAL_STEP):
        msg = f"checkpoint {checkpoint.prefix!r} has none of the model's variables. It has: {_list(checkpoint.values)}."
        raise CheckpointError(msg)
    logger = tf.get_logger()
    logger.info("Restoring parameters from %s", checkpoint.prefix)
    if missing:
        logger.warning(
            "%d variables are not in the checkpoint and keep their initial values: %s", len(missing), _list(missing)
        )
    if left_out := [name for name in variables if name not in wanted]:
        # In TRAIN that is what the flags are for; elsewhere it is more likely a flag too many.
        level = logging.INFO if partial else logging.WARNING
        logger.log(
            level,
            "%d variables are left out by the flags and keep their initial values: %s",
            len(left_out),
            _list(left_out),
        )
    if unused and partial:
        logger.info("%d values of the checkpoint are not used: %s", len(unused), _list(unused))
    for name, variable in wanted.items():
        if name in checkpoint.values:
            variable.assign(tf.cast(checkpoint.values[name], variable.dtype))


@frozen
class Choice:
    """Which variables are restored from checkpoint_path.

    Attributes:
        include: regular expressions searched in a name, from the flag checkpoint_include_patterns; none means all.
        exclude: the same of checkpoint_exclude_patterns; it wins.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __call__(self, name: str) -> bool:
        """Whether the variable of this name is restored."""
        if any(re.search(pattern, name) for pattern in self.exclude):
            return False
        return not self.include or any(re.search(pattern, name) for pattern in self.include)


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
        prefix = str(self.log_dir / f"{_BASENAME}-{step}")
        if self.last_step != step or not _exists(prefix):
            tf.get_logger().info("Saving checkpoints for %d into %s.", step, self.log_dir / _BASENAME)
            self._write(prefix)
            self.last_step, self.last_time = step, time.monotonic()
        self._keep_newest(step)
        return prefix

    def _write(self, prefix: str) -> None:
        tensors = {name: variable.read_value() for name, variable in self.state.model_variables().items()}
        tensors[POSITIONS] = self.state.positions.read_value()
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
        prefixes = [prefix for prefix in _own_prefixes(self.log_dir) if _step_of(prefix) <= step]
        kept = prefixes[-self.max_to_keep :]
        _write_state_file(self.log_dir, kept)  # before it names what is gone
        for old in prefixes[: -len(kept)]:
            _remove(old)


def _sweep(log_dir: Path) -> None:
    """Removes what a killed process has left: unfinished files, and data whose index was never written."""
    for leftover in log_dir.glob(f"{_UNFINISHED}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    for data in log_dir.glob(f"{_BASENAME}-*.data-*"):
        prefix = str(data).rpartition(".data-")[0]
        if not _exists(prefix):
            data.unlink(missing_ok=True)


def _remove(prefix: str) -> None:
    """Removes the files of a checkpoint, the index first: without it, none is there."""
    Path(prefix + ".index").unlink(missing_ok=True)
    for path in Path(prefix).parent.glob(f"{Path(prefix).name}.*"):
        path.unlink(missing_ok=True)


def _step_of(prefix: str) -> int:
    return int(prefix.rpartition("-")[2])


def _own_prefixes(log_dir: Path) -> list[str]:
    """The checkpoints of mox in a folder, oldest first."""
    if not log_dir.is_dir():
        return []
    matches = (_OWN.fullmatch(path.name) for path in log_dir.iterdir())
    return [str(log_dir / f"{_BASENAME}-{step}") for step in sorted(int(match[1]) for match in matches if match)]


def _foreign_prefixes(log_dir: str | os.PathLike[str]) -> list[str]:
    """The checkpoints that the file `checkpoint` of a folder names, oldest first: those of other programs."""
    try:
        state = tf.train.get_checkpoint_state(str(log_dir))
    except ValueError as error:
        file = str(Path(log_dir) / "checkpoint")
        msg = f"{file!r} names no checkpoint. Remove it; to use one beside it, pass its prefix as checkpoint_path."
        raise CheckpointError(msg) from error
    if state is None:
        return []
    listed = [path for path in state.all_model_checkpoint_paths if path != state.model_checkpoint_path]
    return [path for path in (*listed, state.model_checkpoint_path) if _exists(path)]


def _exists(prefix: str) -> bool:
    """Whether there is a checkpoint: files with endings, or the one file without that TensorFlow wrote before 1.0."""
    return Path(prefix + ".index").is_file() or Path(prefix).is_file()


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


def _list(names: Iterable[str]) -> str:
    names = list(names)
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


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
