"""What the replicas of a model give in one trace, and the results of a step that are made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import frozen

from mox_core.engine.input.structure import batch_size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_core.engine.model.metrics import LogTensors
    from mox_core.engine.optimizer.gradients import Loss, Target
    from mox_core.specs import ModelSpec

_PRESENT: Final = ""
"""The key, beside the names of outputs, of the tensor that tells which replicas had samples."""


@frozen(kw_only=True)
class ReplicaOutput:
    """What one call of `model_fn` made: that of one replica.

    Attributes:
        spec: what it returned.
        losses: the losses of the spec.
        log: the log values, those of `log_info` as a rule.
        outputs: `output_info`, where it is wanted.
        targets: each loss with the variables that it trains, where the model is trained.
        samples: how many samples the replica has seen, int64 scalar.
    """

    spec: ModelSpec
    losses: tuple[Loss, ...]
    log: LogTensors
    outputs: dict[str, tf.Tensor]
    targets: list[Target]
    samples: tf.Tensor


def num_samples(inputs: Sequence[Any]) -> tf.Tensor:
    """Return the size of the batch: the first dimension of the first input, 1 where there is none."""
    sizes = (batch_size_of(leaf) for leaf in tf.nest.flatten(inputs))
    return next((size for size in sizes if size is not None), tf.constant(1, tf.int64))


def split_inputs(inputs: Sequence[tf.Tensor], replicas: int) -> tuple[tf.Tensor, list[Sequence[tf.Tensor]]]:
    """Return which replicas have samples, bool [replicas], and the inputs of each replica."""
    present, *rest = inputs
    size = len(rest) // replicas
    return present, [rest[start : start + size] for start in range(0, len(rest), size)]


def hooks_of_replicas(replicas: Sequence[ReplicaOutput]) -> tuple[Any, ...]:
    """Return the hooks of all replicas; of those that support aggregation, the first replica's."""
    others = (hook for each in replicas[1:] for hook in each.spec.hooks if not hook.support_aggregation())
    return (*replicas[0].spec.hooks, *others)


def mean_losses(replicas: Sequence[ReplicaOutput], present: tf.Tensor | None) -> list[tf.Tensor]:
    """Return the losses of a step: means over the replicas, weighted by samples."""
    if present is None:
        return [loss.tensor for loss in replicas[0].losses]
    same = zip(*(each.losses for each in replicas), strict=True)
    return [_mean([loss.tensor for loss in losses], _samples(replicas, present)) for losses in same]


def step_values(
    replicas: Sequence[ReplicaOutput],
    losses: Sequence[tf.Tensor],
    rate: tf.Tensor | None,
    present: tf.Tensor | None,
    *,
    first_log: bool,
) -> dict[str, Any]:
    """Return the results of a step.

    Args:
        replicas: what each replica gave.
        losses: means over the replicas.
        rate: the learning rate, None without one.
        present: which replicas have samples; None for a single replica.
        first_log: whether log values are those of the first replica, instead of means.

    Returns:
        'numbers' (vector of losses, log values and learning rate), 'outputs' by name, and 'samples'.
    """
    rates = [] if rate is None else [rate]
    first = replicas[0]
    if present is None:
        numbers = [*losses, *first.log.scalars.values(), *rates]
        return {"numbers": _vector(numbers), "outputs": first.outputs, "samples": first.samples}
    samples = _samples(replicas, present)
    logs = [
        scalar if first_log else _mean([each.log.scalars[name] for each in replicas], samples)
        for name, scalar in first.log.scalars.items()
    ]
    outputs = {f"{n}/{name}": value for n, each in enumerate(replicas) for name, value in each.outputs.items()}
    if outputs:
        outputs[_PRESENT] = present
    return {"numbers": _vector([*losses, *logs, *rates]), "outputs": outputs, "samples": tf.reduce_sum(samples)}


def split_outputs(outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the outputs of each replica that had samples."""
    if _PRESENT not in outputs:
        return [outputs]
    replicas = [number for number, there in enumerate(outputs[_PRESENT]) if there]
    named = [(*name.partition("/")[::2], value) for name, value in outputs.items() if name != _PRESENT]
    return [{name: value for replica, name, value in named if int(replica) == number} for number in replicas]


def _samples(replicas: Sequence[ReplicaOutput], present: tf.Tensor) -> tf.Tensor:
    """Return how many samples each replica has seen; 0 where it was fed those of another."""
    counts = tf.stack([each.samples for each in replicas])
    return tf.where(present, counts, tf.zeros_like(counts))


def _mean(values: Sequence[tf.Tensor], samples: tf.Tensor) -> tf.Tensor:
    dtype = tf.float64 if values[0].dtype == tf.float64 else tf.float32
    stacked = tf.stack([tf.cast(tf.reshape(value, []), dtype) for value in values])
    counted = tf.where(samples > 0, stacked * tf.cast(samples, dtype), tf.zeros_like(stacked))
    return tf.reduce_sum(counted) / tf.cast(tf.reduce_sum(samples), dtype)


def _vector(values: Sequence[Any]) -> tf.Tensor:
    """Stack scalars: float32 where that holds them all exactly, else float64."""
    tensors = [tf.convert_to_tensor(value) for value in values]
    exact = all(
        tensor.dtype.is_bool or (tensor.dtype.is_floating and tensor.dtype.size <= tf.float32.size)
        for tensor in tensors
    )
    dtype = tf.float32 if exact else tf.float64
    return tf.stack([tf.reshape(tf.cast(tensor, dtype), []) for tensor in tensors]) if tensors else tf.zeros([0], dtype)
