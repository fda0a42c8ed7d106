"""Where a model runs: on one device, or on several that each hold a copy of it.

`model_fn` is called once for each device of this process, in one graph. The gradients of all devices are averaged, with
those of other workers where these step together, and then each device applies optimizers of its own to its copy of the
variables: as all copies get the same gradients, they stay the same. So optimizers and their wrappers know nothing of
other devices, and may stand in a branch, which those that average for themselves may not.
"""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import tensorflow as tf
from attrs import field, frozen

from mox_core.engine.workers import Alone
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mox_core.engine.checkpoint import Checkpoint
    from mox_core.engine.parameter_servers import ParameterServers
    from mox_core.engine.state import RunState
    from mox_core.engine.workers import Peers

    Pairs = list[tuple[Any, tf.Variable]]
    T = TypeVar("T")
    Replicator: TypeAlias = "OneDevice | Mirrored | ParameterServers"


class _OwnVariables:
    """A model whose variables are where it is."""

    notes_positions = True
    """Whether a step of the model takes note of where the input stands."""

    def place(self, name: str, known: Mapping[str, tf.Variable]) -> contextlib.AbstractContextManager[None]:
        """Leaves it to TensorFlow where a variable is."""
        del name, known
        return contextlib.nullcontext()

    def prepare(self, optimizer: Any) -> None:
        """Leaves an optimizer as it is."""

    def begin(self, state: RunState, resumed: Checkpoint | None) -> None:
        """Has nothing more to make when a run begins."""


@frozen
class OneDevice(_OwnVariables):
    """A model on the device that TensorFlow chooses.

    Attributes:
        peers: the other workers.
        devices: the device of each copy; one that is not named.
    """

    peers: Peers = field(factory=Alone)
    devices: tuple[str | None, ...] = (None,)

    def call(self, function: Callable[[int], T]) -> list[T]:
        """Calls a function once."""
        return [function(0)]

    def mean(self, updates: Sequence[Pairs]) -> list[Pairs]:
        """Returns the gradients as they are."""
        return list(updates)


@frozen
class Mirrored(_OwnVariables):
    """A model on several devices of this process, by a strategy of `tf.distribute`.

    Attributes:
        strategy: a `MirroredStrategy`.
        devices: the devices of this process.
        peers: the other workers.
    """

    strategy: Any
    devices: tuple[str, ...]
    peers: Peers = field(factory=Alone)

    def call(self, function: Callable[[int], T]) -> list[T]:
        """Calls a function with the number of each copy, on its device, in the graph that is being traced."""
        # Each copy is traced in a thread of its own, which knows nothing of the scopes of this one.
        numbered = iter([(number, contextvars.copy_context()) for number in range(len(self.devices))])
        made: dict[int, T] = {}

        def one() -> None:
            number, context = next(numbered)
            made[number] = context.run(function, number)

        with self.strategy.scope():
            self.strategy.run(one)
        return [made[number] for number in sorted(made)]

    def mean(self, updates: Sequence[Pairs]) -> list[Pairs]:
        """Returns the means of the gradients of all copies, for each copy with its own part of the variables."""
        variables = [variable for _, variable in updates[0]]
        with self.strategy.scope():
            values = [
                self.strategy.experimental_distribute_values_from_function(_chosen([pairs[n][0] for pairs in updates]))
                for n in range(len(variables))
            ]
            reduced = self.strategy.extended.batch_reduce_to(
                tf.distribute.ReduceOp.MEAN, list(zip(values, variables, strict=True))
            )
        parts = self.strategy.experimental_local_results
        own = [(parts(gradient), parts(variable)) for gradient, variable in zip(reduced, variables, strict=True)]
        return [[(gradients[copy], copies[copy]) for gradients, copies in own] for copy in range(len(self.devices))]


def _chosen(values: Sequence[Any]) -> Callable[[Any], Any]:
    numbers = iter(range(len(values)))
    return lambda _context: values[next(numbers)]


def on_devices(count: int, peers: Peers, *, on_cpu: bool) -> Replicator:
    """Returns what runs a model on so many devices.

    Args:
        count: how many copies of the model there are.
        peers: the other workers.
        on_cpu: whether the devices are logical ones of the CPU instead of GPUs.

    Raises:
        UsageError: where there are not so many.
    """
    if count == 1:
        return OneDevice(peers)
    devices = _logical_cpus(count) if on_cpu else [gpu.name for gpu in tf.config.list_logical_devices("GPU")]
    if len(devices) < count:
        raise UsageError(
            f"--num_gpus={count}: TensorFlow sees {len(devices)} GPUs here. Give as many as there are, or leave the "
            "flag out; to try the job with parts of the CPU instead, add --clone_on_cpu=True."
        )
    devices = devices[:count]
    if peers.number == 1:
        return Mirrored(tf.distribute.MirroredStrategy(devices), tuple(devices), peers)
    # Sums over workers are collectives, and those of two strategies in one process take each other for their own.
    within = tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.HierarchicalCopyAllReduce())
    return Mirrored(within, tuple(devices), peers)


def split_cpu(count: int) -> None:
    """Makes parts of the CPU devices: before TensorFlow computes anything, or knows other workers."""
    with contextlib.suppress(RuntimeError):
        (cpu, *_) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)


def _logical_cpus(count: int) -> list[str]:
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(devices) < count:
        raise UsageError(
            f"--clone_on_cpu=True --num_gpus={count}: TensorFlow has begun to compute with {len(devices)} CPU, and the "
            "number cannot change any more. Call mox.run before anything else of TensorFlow, in a process of its own."
        )
    return devices
