"""What a run carries from step to step, and what a checkpoint holds."""

from __future__ import annotations

import tensorflow as tf

from mox_core.engine.replicator import OneDevice, Replicator
from mox_core.engine.variables import VariableStore

GLOBAL_STEP = "global_step"
POSITIONS = "mox/input_positions"
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
    """

    def __init__(self, seed: int, num_positions: int, replicator: Replicator | None = None) -> None:
        self.seed = seed
        self.replicator = replicator or OneDevice()
        self.store = VariableStore(seed)
        self.step = tf.Variable(tf.constant(0, tf.int64), dtype=tf.int64, trainable=False, name=GLOBAL_STEP)
        self.positions = tf.Variable(
            tf.zeros([num_positions], tf.int64), dtype=tf.int64, trainable=False, name=POSITIONS
        )

    def model_variables(self) -> dict[str, tf.Variable]:
        """The variables that every checkpoint of this model has, by name."""
        return {**self.store.by_name, GLOBAL_STEP: self.step}

    def skipped_steps(self) -> int:
        """How many steps of the training were skipped because a gradient was not finite."""
        return int(self.store.by_name.get(SKIPPED_STEPS, 0))
