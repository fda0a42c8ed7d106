"""What the calls of `model_fn` in one trace gave, one for each copy of the model, and what a step makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_core.specs import ModelSpec

_PRESENT = ""  # beside the names of outputs: which copies had samples


@frozen
class Loss:
    """A loss and the name under which messages speak of it."""

    name: str
    tensor: tf.Tensor


@frozen(kw_only=True)
class Call:
    """What one call of `model_fn` made: that of one copy of the model.

    Attributes:
        spec: what it returned.
        losses: the losses of the spec.
        log: what is watched.
        outputs: `output_info`, where it is wanted.
        gradients: those of each loss, where the model is trained.
        samples: how many samples the copy has seen.
    """

    spec: ModelSpec
    losses: tuple[Loss, ...]
    log: dict[str, tf.Tensor]
    outputs: dict[str, tf.Tensor]
    gradients: list[Any]
    samples: tf.Tensor


def apart(outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """Takes the outputs of copies apart, and leaves out those of copies for which there were no samples."""
    if _PRESENT not in outputs:
        return [outputs]
    copies = [number for number, there in enumerate(outputs[_PRESENT]) if there]
    named = [(*name.partition("/")[::2], value) for name, value in outputs.items() if name != _PRESENT]
    return [{name: value for copy, name, value in named if int(copy) == number} for number in copies]


def hooks_of(calls: Sequence[Call]) -> tuple[Any, ...]:
    """The hooks of all copies; of those that support aggregation, the first copy's."""
    return (
        *calls[0].spec.hooks,
        *(hook for call in calls[1:] for hook in call.spec.hooks if not hook.support_aggregation()),
    )


def groups(inputs: Sequence[tf.Tensor], copies: int) -> tuple[tf.Tensor, list[Sequence[tf.Tensor]]]:
    """Takes the inputs of a step apart: which copies have some, and those of each."""
    present, *rest = inputs
    size = len(rest) // copies
    return present, [rest[start : start + size] for start in range(0, len(rest), size)]


def mean_losses(calls: Sequence[Call], present: tf.Tensor | None) -> list[tf.Tensor]:
    """The losses of a step: means over the copies, weighted by samples."""
    if present is None:
        return [loss.tensor for loss in calls[0].losses]
    same = zip(*(call.losses for call in calls), strict=True)
    return [_mean([loss.tensor for loss in losses], _samples(calls, present)) for losses in same]


def values_of_step(
    calls: Sequence[Call],
    losses: Sequence[tf.Tensor],
    rate: tf.Tensor | None,
    present: tf.Tensor | None,
    *,
    first_log: bool,
) -> dict[str, Any]:
    """What a step gives: numbers, outputs of each copy, and samples."""
    rates = [] if rate is None else [rate]
    first = calls[0]
    if present is None:
        numbers = [*losses, *first.log.values(), *rates]
        return {"numbers": _vector(numbers), "outputs": first.outputs, "samples": first.samples}
    samples = _samples(calls, present)
    logs = [first.log[name] if first_log else _mean([call.log[name] for call in calls], samples) for name in first.log]
    outputs = {f"{copy}/{name}": each for copy, call in enumerate(calls) for name, each in call.outputs.items()}
    if outputs:
        outputs[_PRESENT] = present
    return {"numbers": _vector([*losses, *logs, *rates]), "outputs": outputs, "samples": tf.reduce_sum(samples)}


def _samples(calls: Sequence[Call], present: tf.Tensor) -> tf.Tensor:
    """How many samples each copy has seen; none where it was fed those of another to do something."""
    counts = tf.stack([call.samples for call in calls])
    return tf.where(present, counts, tf.zeros_like(counts))


def _mean(values: Sequence[tf.Tensor], samples: tf.Tensor) -> tf.Tensor:
    dtype = tf.float64 if values[0].dtype == tf.float64 else tf.float32
    stacked = tf.stack([tf.cast(tf.reshape(value, []), dtype) for value in values])
    counted = tf.where(samples > 0, stacked * tf.cast(samples, dtype), tf.zeros_like(stacked))
    return tf.reduce_sum(counted) / tf.cast(tf.reduce_sum(samples), dtype)


def _vector(values: Sequence[Any]) -> tf.Tensor:
    """Puts scalars into one vector: float32 where that holds them all exactly, else float64."""
    tensors = [tf.convert_to_tensor(value) for value in values]
    exact = all(
        tensor.dtype.is_bool or (tensor.dtype.is_floating and tensor.dtype.size <= tf.float32.size)
        for tensor in tensors
    )
    dtype = tf.float32 if exact else tf.float64
    return tf.stack([tf.reshape(tf.cast(tensor, dtype), []) for tensor in tensors]) if tensors else tf.zeros([0], dtype)


def num_samples(inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    """The size of the batch: the first dimension of the first input, 1 where there is none."""
    batch = next((tensor for tensor in inputs if tensor.shape.rank), None)
    if batch is None:
        return tf.constant(1, tf.int64)
    size = batch.shape[0]
    return tf.shape(batch, tf.int64)[0] if size is None else tf.constant(size, tf.int64)
