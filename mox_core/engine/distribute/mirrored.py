"""A model with a replica on each of several devices of this process."""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, Any, Final, TypeVar

import tensorflow as tf
from attrs import field, frozen

from mox_core.engine.distribute.collectives import Collective, SingleProcess
from mox_core.engine.distribute.packs import in_packs
from mox_core.engine.distribute.replicator import LocalVariables, OneDevice, Replicator
from mox_core.engine.tf_internals.mirrored_strategy import mirrored_strategy
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.engine.tensors import GradsAndVars

T = TypeVar("T")

_BYTES_IN_A_PACK: Final = 32 << 20
"""Between devices of one machine, to begin costs more than the bytes of a small pack."""


@frozen
class Mirrored(LocalVariables):
    """A replica on each device, with its own copy of every variable.

    Attributes:
        strategy: a `tf.distribute.MirroredStrategy`.
        devices: the devices of the replicas.
        collective: the workers of the run.
    """

    strategy: Any
    devices: tuple[str, ...]
    collective: Collective = field(factory=SingleProcess)

    def run(self, function: Callable[[int], T]) -> list[T]:
        """Call a function with the number of each replica, on its device, in the graph that is being traced."""
        # The strategy traces each replica in a thread of its own, which knows nothing of the context of this one.
        numbered = iter([(number, contextvars.copy_context()) for number in range(len(self.devices))])
        made: dict[int, T] = {}

        def call_one() -> None:
            number, context = next(numbered)
            made[number] = context.run(function, number)

        with self.strategy.scope():
            self.strategy.run(call_one)
        return [made[number] for number in sorted(made)]

    def reduce_mean(self, gradients: Sequence[GradsAndVars]) -> list[GradsAndVars]:
        """Return the mean gradients over all replicas, for each replica with its own part of the variables."""
        variables = [variable for _, variable in gradients[0]]
        distributed = self.strategy.experimental_distribute_values_from_function
        reduced: dict[int, Any] = {}
        with self.strategy.scope():
            for numbers in in_packs([gradient for gradient, _ in gradients[0]], _BYTES_IN_A_PACK):
                pairs = [
                    (distributed(_one_after_another([each[n][0] for each in gradients])), variables[n]) for n in numbers
                ]
                means = self.strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.MEAN, pairs)
                reduced |= zip(numbers, means, strict=True)
        local = self.strategy.experimental_local_results
        parts = [(local(reduced[n]), local(variable)) for n, variable in enumerate(variables)]
        return [[(means[n], own[n]) for means, own in parts] for n in range(len(self.devices))]


def _one_after_another(values: Sequence[Any]) -> Callable[[Any], Any]:
    numbers = iter(range(len(values)))
    return lambda _context: values[next(numbers)]


def replicate(count: int, collective: Collective, *, on_cpu: bool) -> Replicator:
    """Return the replicator for a number of devices.

    Args:
        count: how many replicas this process has.
        collective: the workers of the run.
        on_cpu: whether the devices are logical CPUs (see `split_cpu`) instead of GPUs.

    Raises:
        UsageError: if there are fewer devices.
    """
    if count == 1:
        return OneDevice(collective)
    devices = _logical_cpus(count) if on_cpu else [gpu.name for gpu in tf.config.list_logical_devices("GPU")]
    if len(devices) < count:
        raise UsageError(
            f"--num_gpus={count}: TensorFlow sees {len(devices)} GPUs here. Give as many as there are, or leave the "
            "flag out; to try the job with parts of the CPU instead, add --clone_on_cpu=True."
        )
    devices = devices[:count]
    if on_cpu:  # they share their memory: adding up is all there is to do
        adding = tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice())
        return Mirrored(adding, tuple(devices), collective)
    if collective.world_size == 1:
        return Mirrored(mirrored_strategy(tuple(devices)), tuple(devices), collective)
    # Sums over workers are collectives, and the collective keys of two strategies in one process collide.
    within = tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.HierarchicalCopyAllReduce())
    return Mirrored(within, tuple(devices), collective)


def split_cpu(count: int) -> None:
    """Make logical CPUs, before TensorFlow computes anything or connects to other workers."""
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
