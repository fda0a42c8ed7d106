"""Where the replicas of a model run.

`model_fn` is called once for each replica of this process, in one graph. The gradients of all replicas are averaged,
with those of other workers where these step together; then each replica applies optimizers of its own to its part of
the variables. As all replicas get the same gradients, they stay the same. So optimizers and their wrappers know nothing
of other devices, and may stand in a branch, which optimizers that average for themselves may not.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from attrs import field, frozen

from mox_core.engine.distribute.collectives import Collective, SingleProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import tensorflow as tf

    from mox_core.engine.tensors import GradsAndVars

T = TypeVar("T")


class Replicator(Protocol):
    """A kind of distribution: on which devices the replicas and the variables of a model are."""

    @property
    def collective(self) -> Collective:
        """The workers of the run."""

    @property
    def devices(self) -> Sequence[str | None]:
        """The device of each replica of this process; None for the one that TensorFlow chooses."""

    @property
    def num_readers(self) -> int:
        """How many workers share the samples."""

    @property
    def reader(self) -> int:
        """Which of them this worker is."""

    @property
    def tracks_positions(self) -> bool:
        """Whether a step assigns the position of the input to the variable of the run."""

    def run(self, function: Callable[[int], T]) -> list[T]:
        """Call a function with the number of each replica, on its device, in the graph that is being traced."""

    def reduce_mean(self, gradients: Sequence[GradsAndVars]) -> list[GradsAndVars]:
        """Return the mean gradients over all replicas, for each replica with its own part of the variables."""

    def device_scope(self, name: str, known: Mapping[str, tf.Variable]) -> contextlib.AbstractContextManager[None]:
        """Return the scope in which a variable is made.

        Args:
            name: name of the variable.
            known: the variables that were made before it, by name.
        """

    def prepare_optimizer(self, optimizer: Any) -> None:
        """Adapt a new optimizer, or refuse it."""


class LocalVariables:
    """What replicators have in common whose variables are on the devices of their replicas."""

    collective: Collective
    tracks_positions = True

    @property
    def num_readers(self) -> int:
        """All workers share the samples."""
        return self.collective.world_size

    @property
    def reader(self) -> int:
        """The rank of this worker."""
        return self.collective.rank

    def device_scope(self, name: str, known: Mapping[str, tf.Variable]) -> contextlib.AbstractContextManager[None]:
        """Leave the device to TensorFlow."""
        del name, known
        return contextlib.nullcontext()

    def prepare_optimizer(self, optimizer: Any) -> None:
        """Leave the optimizer as it is."""


@frozen
class OneDevice(LocalVariables):
    """One replica, on the device that TensorFlow chooses.

    Attributes:
        collective: the workers of the run.
        devices: the device of the replica, which is not named.
    """

    collective: Collective = field(factory=SingleProcess)
    devices: tuple[str | None, ...] = (None,)

    def run(self, function: Callable[[int], T]) -> list[T]:
        """Call a function once."""
        return [function(0)]

    def reduce_mean(self, gradients: Sequence[GradsAndVars]) -> list[GradsAndVars]:
        """Return the gradients."""
        return list(gradients)
