"""What a run carries from step to step, and what a checkpoint holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from mox_core.did_you_mean import listed
from mox_core.engine.replicator import OneDevice
from mox_core.engine.variables import VariableStore
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from mox_core.engine.replicator import Replicator

GLOBAL_STEP = "global_step"
POSITIONS = "mox/input_positions"
PROGRESS = "mox/worker_positions"
SEED = "mox/seed"
SKIPPED_STEPS = "mox/skipped_steps"
HOOKS = "hooks/"
"""What the names of variables begin with in which hooks remember something."""
OF_A_RUN = (HOOKS, "mox/")
"""The same for all variables that belong to a training and not to its model: those of mox itself, too."""


class RunState:
    """The variables of a run.

    Attributes:
        seed: what the order of samples, initial values and random ops depend on.
        store: the variables of the model and of the optimizers.
        replicator: on which devices the model is.
        step: the global step, int64: how many steps the model has been trained.
        positions: where the input stands, int64, one number for each source.
        progress: the same of each worker, [workers, sources], where they do not step together; else None.
    """

    def __init__(self, seed: int, num_positions: int, replicator: Replicator | None = None) -> None:
        self.seed = seed
        self.replicator = replicator or OneDevice()
        self.progress: tf.Variable | None = None
        self.store = VariableStore(seed, self.replicator)
        with self.replicator.place(GLOBAL_STEP, {}):
            self.step = tf.Variable(tf.constant(0, tf.int64), dtype=tf.int64, trainable=False, name=GLOBAL_STEP)
        self.positions = tf.Variable(
            tf.zeros([num_positions], tf.int64), dtype=tf.int64, trainable=False, name=POSITIONS
        )

    def advance(self, positions: tf.Tensor) -> None:
        """Adds the ops that count a step to the graph that is being traced."""
        self.step.assign_add(1)
        if self.replicator.notes_positions:
            self.positions.assign(positions)

    def own_positions(self) -> list[int]:
        """Where this worker begins to read."""
        positions: list[int] = (self.positions if self.progress is None else self.progress[0]).numpy().tolist()
        return positions

    def input_positions(self) -> dict[str, tf.Tensor]:
        """Where a run that goes on begins to read, by the names in a checkpoint."""
        if self.progress is None:
            return {POSITIONS: self.positions.read_value()}
        # Where the slowest worker is, for as many workers as there will be; each its own place, for as many as now.
        progress = self.progress.read_value()
        return {POSITIONS: tf.reduce_min(progress, 0), PROGRESS: progress}

    def model_variables(self) -> dict[str, tf.Variable]:
        """The variables that every checkpoint of this model has, by name."""
        return {**self.store.by_name, GLOBAL_STEP: self.step}

    def share_chiefs_values(self) -> None:
        """Gives the variables of all workers, on all their devices, the values of the chief's first device.

        Raises:
            UsageError: where this worker has made other variables.
        """
        peers = self.replicator.peers
        variables = {**self.model_variables(), POSITIONS: self.positions}
        own = {name: [*variable.shape.as_list(), variable.dtype.name] for name, variable in variables.items()}
        chiefs = peers.from_chief(own)
        if others := sorted(name for name in {**own, **chiefs} if own.get(name) != chiefs.get(name)):
            raise UsageError(
                f"model_fn makes other variables on worker {peers.index} than on worker 0: {listed(others, 'and')}. "
                "All workers run the same script with the same flags."
            )
        numbers = [variables[name] for name in sorted(variables) if variables[name].dtype != tf.string]
        peers.assign_chiefs(numbers)
        self.store.spread()

    def skipped_steps(self) -> int:
        """How many steps of the training were skipped because a gradient was not finite."""
        return int(self.store.by_name.get(SKIPPED_STEPS, 0))
