"""Checkpoints found, read and restored: TensorFlow's own format, keyed by variable name.

A damaged one is found by the checksums that TensorFlow keeps for each tensor. Writing is in `saving`.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import field, frozen

from mox_core.engine.state import GLOBAL_STEP, OF_A_RUN, POSITIONS, PROGRESS, SEED, RunState
from mox_core.errors import CheckpointError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    import numpy as np

    from mox_core.patterns import Choice


BASENAME = "model.ckpt"
_OWN = re.compile(rf"{re.escape(BASENAME)}-(\d+)\.index")
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
    prefixes = own_prefixes(Path(log_dir)) or _foreign_prefixes(log_dir)
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
    if not exists(prefix):
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
    variables = _without_new(checkpoint, variables, partial=partial)
    wanted = {name: variable for name, variable in variables.items() if chosen is None or chosen(name)}
    other_shape = [
        f"{name} (model {tuple(variable.shape)}, checkpoint {checkpoint.values[name].shape})"
        for name, variable in wanted.items()
        if name in checkpoint.values and not variable.shape.is_compatible_with(checkpoint.values[name].shape)
    ]
    # The step is no weight: what other programs wrote may do without it.
    missing = [name for name in wanted if name not in checkpoint.values and name != GLOBAL_STEP]
    unused = [
        name
        for name in checkpoint.values
        if name not in wanted and name not in (POSITIONS, PROGRESS, SEED, "save_counter")
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


def _without_new(checkpoint: Checkpoint, variables: dict[str, tf.Variable], *, partial: bool) -> dict[str, tf.Variable]:
    """Leaves out what hooks and flags keep of a training where another one begins, or where it went without them."""
    new = [name for name in variables if name.startswith(OF_A_RUN) and (partial or name not in checkpoint.values)]
    if new:
        tf.get_logger().info(
            "%d variables of hooks and flags begin with their initial values: %s", len(new), _list(new)
        )
    return {name: variable for name, variable in variables.items() if name not in new}


def own_prefixes(log_dir: Path) -> list[str]:
    """The checkpoints of mox in a folder, oldest first."""
    if not log_dir.is_dir():
        return []
    matches = (_OWN.fullmatch(path.name) for path in log_dir.iterdir())
    return [str(log_dir / f"{BASENAME}-{step}") for step in sorted(int(match[1]) for match in matches if match)]


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
    return [path for path in (*listed, state.model_checkpoint_path) if exists(path)]


def exists(prefix: str) -> bool:
    """Whether there is a checkpoint: files with endings, or the one file without that TensorFlow wrote before 1.0."""
    return Path(prefix + ".index").is_file() or Path(prefix).is_file()


def _list(names: Iterable[str]) -> str:
    names = list(names)
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
