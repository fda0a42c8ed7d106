"""The order of samples, as a function of (seed, epoch, offset).

Position p of a source with n samples is offset p % n of epoch p // n, and a shuffled epoch is a permutation that is
computed, not stored. So a run goes on at any position at once, every epoch is shuffled over the whole set, and nothing
but the position has to be saved.

The sources of one input have orders of their own: sample i of one does not always meet sample i of another.

Workers share an order in turn: of W workers, the one with number w reads the positions start + w, start + w + W, and
so on. In between, all of them are said to be at the same position, start + n * W.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from attrs import evolve, frozen

from mox_core.engine import randomness


@frozen(kw_only=True)
class Order:
    """The order of the samples of a run, and this worker's share of it.

    Attributes:
        seed: the seed of the run.
        workers: how many workers share the samples.
        worker: the number of this one.
    """

    seed: int
    workers: int = 1
    worker: int = 0

    def of_source(self, number: int) -> Order:
        """Return the order of a source with a number among those of an input."""
        return self if number == 0 else evolve(self, seed=randomness.fold(self.seed, "source", number))

    def seed_at(self, after: tf.Tensor) -> tf.Tensor:
        """Return the seed of random operations for the sample before a position: the same on any worker."""
        return after if self.workers == 1 else after + (1 + self.worker - self.workers)

    def first_from(self, position: Any, start: int) -> Any:
        """Return the first position of this worker that reads a sample at or behind a position of the run."""
        rounds = -((start + self.worker - position) // self.workers)
        return start + tf.maximum(rounds, 0) * self.workers
