"""The variables that a run carries from step to step, and a checkpoint holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from mox_core.engine.distribute.replicator import OneDevice
from mox_core.engine.variables.final_weights import FinalWeights
from mox_core.engine.variables.finite_weights import FiniteWeights
from mox_core.engine.variables.names import (
    GLOBAL_STEP,
    INPUT_BLOCKS,
    INPUT_SIZES,
    POSITIONS,
    SKIPPED_STEPS,
    TRAINED,
    TRAINING_STATE,
    WORKER_POSITIONS,
)
from mox_core.engine.variables.store import VariableStore
from mox_core.errors import UsageError
from mox_core.name_lists import listed

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Mapping, Sequence

    from mox_core.engine.distribute.replicator import Replicator


class RunState:
    """The variables of a run.

    Attributes:
        seed: seed of the order of samples, of initial values and of random operations.
        store: the variables of the model and of the optimizers.
        final_weights: what optimizers make of the weights at the end.
        replicator: where the replicas of the model are.
        step: the global step, int64: how many steps the model has been trained.
        positions: the next position of each source of the input, int64 [sources].
        worker_positions: the same of each worker, int64 [workers, sources], after `track_workers`; else None. Workers
            that leave out bad samples are at other positions than the others.
        input_blocks: how many samples a block has in the order of each source that is read in blocks, for checkpoints.
        input_sizes: how many samples an epoch of each source has, for checkpoints; 0 where that is not known.
        classes: what a checkpoint remembers of the classes that labels stand for, see `class_lists`; '' for nothing.
    """

    def __init__(
        self,
        seed: int,
        num_positions: int,
        replicator: Replicator | None = None,
        *,
        input_blocks: Sequence[int] = (),
        input_sizes: Sequence[int] = (),
        classes: str = "",
    ) -> None:
        self.seed = seed
        self.input_blocks = input_blocks
        self.input_sizes = input_sizes
        self.replicator = replicator or OneDevice()
        self.worker_positions: tf.Variable | None = None
        self.classes = classes
        self.store = VariableStore(seed, self.replicator)
        self.final_weights = FinalWeights()
        self._finite = FiniteWeights()
        with self.replicator.device_scope(GLOBAL_STEP, {}):
            self.step = tf.Variable(tf.constant(0, tf.int64), dtype=tf.int64, trainable=False, name=GLOBAL_STEP)
        self.positions = tf.Variable(
            tf.zeros([num_positions], tf.int64), dtype=tf.int64, trainable=False, name=POSITIONS
        )

    def advance(self, positions: tf.Tensor) -> None:
        """Add the operations that count a step to the graph that is being traced."""
        self.step.assign_add(1)
        if self.replicator.tracks_positions:
            self.positions.assign(positions)

    def track_workers(self, num_workers: int, saved: np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None) -> None:
        """Keep a position for each worker.

        Args:
            num_workers: how many workers read the input.
            saved: the positions of the workers of the run that is resumed, int64 [workers, sources]; used if there were
                as many. Otherwise every worker begins at `positions`.
        """
        value = tf.tile(self.positions.read_value()[tf.newaxis], [num_workers, 1])
        if saved is not None and saved.shape == tuple(value.shape):
            value = tf.constant(saved)
        if self.replicator.tracks_positions:
            self.positions.assign(value[self.replicator.reader])
        with self.replicator.device_scope(WORKER_POSITIONS, {}):
            self.worker_positions = tf.Variable(value, trainable=False, name=WORKER_POSITIONS)

    def own_positions(self) -> list[int]:
        """Return the positions at which this worker begins to read."""
        own: Any = self.positions
        if self.worker_positions is not None and not self.replicator.tracks_positions:
            own = self.worker_positions[0]
        positions: list[int] = own.numpy().tolist()
        return positions

    def note_worker_positions(self, rows: np.ndarray[Any, Any]) -> None:
        """Keep the positions that the workers have come to, [workers, sources]."""
        if self.worker_positions is not None:
            self.worker_positions.assign(rows.astype(np.int64))

    def input_positions(self) -> dict[str, tf.Tensor]:
        """Return where a resumed run begins to read, and in which order, by the names in a checkpoint."""
        told = {INPUT_BLOCKS: self.input_blocks, INPUT_SIZES: self.input_sizes}
        order = {name: tf.constant(values, tf.int64) for name, values in told.items() if any(values)}
        if self.worker_positions is None:
            return {POSITIONS: self.positions.read_value(), **order}
        # The slowest worker's for another number of workers; each worker's own for the same number.
        positions = self.worker_positions.read_value()
        slowest = {POSITIONS: tf.reduce_min(positions, 0), **order}
        if self.replicator.tracks_positions and (positions.numpy() == positions.numpy()[0]).all():
            return slowest  # workers in step that have left out nothing
        return {**slowest, WORKER_POSITIONS: positions}

    def model_variables(self) -> dict[str, tf.Variable]:
        """Return the variables that every checkpoint of this model has, by name."""
        return {**self.store.by_name, GLOBAL_STEP: self.step}

    def weights(self) -> dict[str, tf.Variable]:
        """Return the variables of the model itself, by name: not those of optimizers, hooks and flags."""
        return {
            name: variable
            for name, variable in self.store.by_name.items()
            if name not in self.store.of_optimizers and not name.startswith(TRAINING_STATE)
        }

    def begin_training(self) -> None:
        """Look at the weights with which a training begins."""
        self._finite.begin(self.weights())

    def saved_values(self) -> dict[str, tf.Tensor]:
        """Return the values that a checkpoint holds under the names of variables, and the weights being trained."""
        values = {name: variable.read_value() for name, variable in self.model_variables().items()}
        final = self.final_weights.values(self.store.by_name)
        return values | {f"{TRAINED}{name}": values[name] for name in final} | final

    def check_finite(self, values: Mapping[str, tf.Tensor]) -> None:
        """Refuse `saved_values` of which a weight is not finite.

        Raises:
            NanLossError: with its name.
        """
        trained = {f"{TRAINED}{name}" for name in self.weights()} & values.keys()
        weights = {name: values[name] for name in (*self.weights(), *sorted(trained))}
        self._finite.check(weights, int(values[GLOBAL_STEP]))

    def final_weights_in_place(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the variables have the weights with which the model is used."""
        return self.final_weights.in_place(self.store.by_name)

    def assign_final_weights(self) -> None:
        """Assign to the variables the weights with which the model is used, when the training is over."""
        self.final_weights.assign(self.store.by_name)

    def broadcast_from_chief(self) -> None:
        """Broadcast the chief's values to the variables of every worker, and of every replica of a worker.

        Raises:
            UsageError: if this worker has made other variables.
        """
        collective = self.replicator.collective
        variables = {**self.model_variables(), POSITIONS: self.positions}
        own = {name: [*variable.shape.as_list(), variable.dtype.name] for name, variable in variables.items()}
        chiefs = collective.broadcast_object(own)
        if others := sorted(name for name in {**own, **chiefs} if own.get(name) != chiefs.get(name)):
            raise UsageError(
                f"model_fn makes other variables on worker {collective.rank} than on worker 0: "
                f"{listed(others, 'and')}. "
                "All workers run the same script with the same flags."
            )
        numbers = [variables[name] for name in sorted(variables) if variables[name].dtype != tf.string]
        collective.broadcast_variables(numbers)
        self.store.copy_to_replicas()

    def skipped_steps(self) -> int:
        """Return how many steps of the training were skipped because a gradient was not finite."""
        return int(self.store.by_name.get(SKIPPED_STEPS, 0))
