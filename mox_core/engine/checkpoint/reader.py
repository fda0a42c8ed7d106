"""Checkpoints found and read: TensorFlow's own format, keyed by variable name.

A damaged one is found by the checksums that TensorFlow keeps for each tensor.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import evolve, field, frozen

from mox_core.engine.checkpoint.files import checkpoint_exists, own_prefixes
from mox_core.engine.variables.names import GLOBAL_STEP, SEED, TRAINED
from mox_core.errors import CheckpointError

if TYPE_CHECKING:
    import os

    import numpy as np

_DAMAGE: Final = (tf.errors.OpError, IndexError, ValueError, RuntimeError, OSError)
"""What TensorFlow raises for a checkpoint that is cut off or overwritten: an IndexError for an empty index, say."""


@frozen
class Checkpoint:
    """A checkpoint that has been read and found whole.

    Attributes:
        prefix: its path without the suffixes of its files.
        values: every tensor by name.
    """

    prefix: str
    values: dict[str, np.ndarray[Any, Any]] = field(repr=False)

    @property
    def step(self) -> int:
        """The global step at which it was written, 0 where it has none."""
        return int(self.values.get(GLOBAL_STEP, 0))

    def for_training(self) -> Checkpoint:
        """Return it with the weights that were trained under their names, where those that are used are others."""
        trained = {name.removeprefix(TRAINED): value for name, value in self.values.items() if name.startswith(TRAINED)}
        return evolve(self, values=self.values | trained)

    @property
    def seed(self) -> int | None:
        """The seed of the run that wrote it; None where mox did not write it."""
        seed = self.values.get(SEED)
        return None if seed is None else int(seed)


def load_latest(log_dir: str | os.PathLike[str]) -> Checkpoint | None:
    """Return the newest whole checkpoint of a folder, None where there is none.

    A damaged one is named in a warning, and the one before it is used.

    Raises:
        CheckpointError: if there are checkpoints, and all are damaged.
    """
    prefixes = own_prefixes(Path(log_dir)) or _foreign_prefixes(log_dir)
    for prefix in reversed(prefixes):
        try:
            return read(prefix)
        except CheckpointError as error:
            tf.get_logger().warning("%s Trying the one before it.", error)
    if prefixes:
        raise CheckpointError(
            f"every checkpoint in {str(log_dir)!r} is damaged: {', '.join(map(repr, prefixes))}. "
            "Use another log_dir to start anew."
        )
    return None


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Return the checkpoint at a path: a folder, or a prefix such as `resnet_v1_50.ckpt`.

    Raises:
        CheckpointError: if there is none.
    """
    if Path(path).is_dir():
        found = load_latest(path)
        if found is None:
            raise CheckpointError(f"checkpoint_path {str(path)!r} is a folder without a checkpoint.")
        return found
    prefix = re.sub(r"\.(index|data-\d+-of-\d+|meta)$", "", str(path))
    if not checkpoint_exists(prefix):
        raise CheckpointError(
            f"checkpoint_path {str(path)!r} is neither a folder nor the prefix of a checkpoint: "
            f"there is no {prefix + '.index'!r}."
        )
    return read(prefix)


def read(prefix: str) -> Checkpoint:
    """Read all of a checkpoint, which also checks it.

    Raises:
        CheckpointError: if it is damaged.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
        return Checkpoint(prefix, {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})
    except _DAMAGE as error:
        first_line = str(error).splitlines()[0] if str(error) else ""
        raise CheckpointError(f"checkpoint {prefix!r} is damaged ({type(error).__name__}: {first_line}).") from error


def _foreign_prefixes(log_dir: str | os.PathLike[str]) -> list[str]:
    """Return the checkpoints that the file `checkpoint` of a folder names, oldest first: those of other programs."""
    try:
        state = tf.train.get_checkpoint_state(str(log_dir))
    except ValueError as error:
        file = str(Path(log_dir) / "checkpoint")
        raise CheckpointError(
            f"{file!r} names no checkpoint. Remove it; to use one beside it, pass its prefix as checkpoint_path."
        ) from error
    if state is None:
        return []
    listed = [path for path in state.all_model_checkpoint_paths if path != state.model_checkpoint_path]
    return [path for path in (*listed, state.model_checkpoint_path) if checkpoint_exists(path)]
