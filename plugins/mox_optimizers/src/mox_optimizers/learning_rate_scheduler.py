"""Learning rates that change while a model is trained, after MoXing's functions of the same names.

They are functions of the global step, so that a resumed run goes on with them, and are logged as they are used.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError
from mox_optimizers import checks, strategies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_optimizers.strategies import Stage


def piecewise_lr(
    lr_strategy: str, num_samples: int, global_batch_size: int
) -> tf.Tensor | Callable[[tf.Tensor], tf.Tensor]:
    """Return a learning rate that is piecewise by epochs.

    A strategy is a list of stages `END_EPOCH:LR` (constant), `END_EPOCH:LR->LR` (linear) or `END_EPOCH:LR=>LR`
    (exponential). A stage begins where the one before it ends, the first at epoch 0, and ends just before END_EPOCH,
    which may be a fraction. After the last END_EPOCH the last learning rate stays: no source of the original says what
    happened there. `5:0.1->0.4,10:0.4=>0.8,15:0.8,20:0.08` goes from 0.1 to 0.4 by equal differences in five epochs,
    on to 0.8 by equal factors in five more, stays at 0.8 up to epoch 15, and at 0.08 from there on.

    Args:
        lr_strategy: the strategy.
        num_samples: samples in an epoch.
        global_batch_size: samples of all devices and workers in one step: after `step` steps it is epoch
            `step * global_batch_size / num_samples`.

    Returns:
        Inside optimizer_fn or model_fn a float32 scalar that depends on the global step. Elsewhere a function of the
        step, which `mox.get_optimizer_fn(..., learning_rate=...)` takes; called with a number, it returns the rate.

    Raises:
        UsageError: if the strategy cannot be read, with the place that is wrong, or a number is not above 0.
    """
    stages = strategies.parse(lr_strategy)
    epoch = checks.count("num_samples", num_samples)
    batch = checks.count("global_batch_size", global_batch_size)

    def rate(step: Any) -> tf.Tensor:
        return _staged(stages, epoch, tf.cast(step, tf.int64) * batch)

    if tf.executing_eagerly():
        return rate
    return rate(tf.convert_to_tensor(tf.compat.v1.train.get_or_create_global_step()))


def linear_cosine_decay(
    max_lr: float, min_lr: float, global_step: Any, max_step: int, warmup: float, decay_end: float
) -> tf.Tensor:
    """Return a learning rate that rises along a line and falls along half a cosine.

    With s = global_step / max_step it is

        s < warmup:                min_lr + (max_lr - min_lr) * s / warmup
        warmup <= s < decay_end:   min_lr + (max_lr - min_lr) * (1 + cos(pi * p)) / 2,
                                   p = (s - warmup) / (decay_end - warmup)
        decay_end <= s:            min_lr

    The original published the name and the arguments only. Inferred are the cosine of half a period (Loshchilov and
    Hutter 2017, arXiv 1608.03983, equation 5), and that the line begins at min_lr.

    Args:
        max_lr: the learning rate at the top.
        min_lr: the learning rate at the beginning and at the end.
        global_step: `tf.compat.v1.train.get_global_step()`, or the argument of a function of the step.
        max_step: the steps of the whole training.
        warmup: the part of max_step in which it rises; 0 begins at max_lr.
        decay_end: the part of max_step after which it stays at min_lr.

    Returns:
        A float32 scalar.

    Raises:
        UsageError: if an argument is not allowed.
    """
    rising, falling = _progress(max_lr, min_lr, global_step, max_step, warmup, decay_end)
    height = tf.where(falling > 0, (1 + tf.cos(math.pi * falling)) / 2, rising)
    return _between(min_lr, max_lr, height)


def polynomial_decay(
    max_lr: float, min_lr: float, global_step: Any, max_step: int, warmup: float, decay_end: float
) -> tf.Tensor:
    """Return a learning rate that rises along a line and falls along a parabola.

    With s = global_step / max_step it is

        s < warmup:                min_lr + (max_lr - min_lr) * s / warmup
        warmup <= s < decay_end:   min_lr + (max_lr - min_lr) * (1 - p) ** 2,  p = (s - warmup) / (decay_end - warmup)
        decay_end <= s:            min_lr

    The original published the name and the arguments only. Inferred are the power 2 (that of LARS: You, Gitman,
    Ginsburg 2017, arXiv 1708.03888, algorithm 1), and that the line begins at min_lr.

    Args:
        max_lr: the learning rate at the top.
        min_lr: the learning rate at the beginning and at the end.
        global_step: `tf.compat.v1.train.get_global_step()`, or the argument of a function of the step.
        max_step: the steps of the whole training.
        warmup: the part of max_step in which it rises; 0 begins at max_lr.
        decay_end: the part of max_step after which it stays at min_lr.

    Returns:
        A float32 scalar.

    Raises:
        UsageError: if an argument is not allowed.
    """
    rising, falling = _progress(max_lr, min_lr, global_step, max_step, warmup, decay_end)
    height = tf.where(falling > 0, (1 - falling) ** 2, rising)
    return _between(min_lr, max_lr, height)


def _staged(stages: Sequence[Stage], num_samples: int, seen: tf.Tensor) -> tf.Tensor:
    """Return the learning rate after so many samples; whole numbers are compared, so that no stage is a step late."""
    ends = [stage.end * num_samples for stage in stages]
    lengths = [float(end - start) for start, end in zip([Fraction(0), *ends], ends, strict=False)]
    slopes = [0.0 if stage.exponential else stage.last - stage.first for stage in stages]
    growths = [math.log(stage.last / stage.first) if stage.exponential else 0.0 for stage in stages]
    number = tf.reduce_sum(tf.cast(seen >= tf.constant([math.ceil(end) for end in ends], tf.int64), tf.int32))

    def chosen(of_stages: Sequence[float], afterwards: float) -> tf.Tensor:
        return tf.gather(tf.constant([*of_stages, afterwards], tf.float64), number)

    start = chosen([0.0, *map(float, ends[:-1])], float(ends[-1]))
    part = (tf.cast(seen, tf.float64) - start) / chosen(lengths, 1.0)
    first = chosen([stage.first for stage in stages], stages[-1].last)
    return tf.cast((first + chosen(slopes, 0.0) * part) * tf.exp(chosen(growths, 0.0) * part), tf.float32)


def _between(low: float, high: float, height: tf.Tensor) -> tf.Tensor:
    return tf.cast(float(low) + float(high - low) * height, tf.float32)


def _progress(
    max_lr: float, min_lr: float, global_step: Any, max_step: int, warmup: float, decay_end: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return how much of the rise and of the fall is done, each between 0 and 1."""
    for name, value in (("max_lr", max_lr), ("min_lr", min_lr), ("warmup", warmup), ("decay_end", decay_end)):
        if not checks.is_number(value) or value < 0:
            raise UsageError(f"{name} is {value!r}; it must be a number, 0 or more.")
    max_step = checks.count("max_step", max_step)
    if min_lr > max_lr:
        raise UsageError(f"min_lr is {min_lr!r} and max_lr {max_lr!r}; min_lr must not be the higher one.")
    if not warmup < decay_end <= 1:
        raise UsageError(
            f"warmup is {warmup!r} and decay_end {decay_end!r}; they must be parts of max_step, "
            "warmup below decay_end and decay_end at most 1."
        )
    if global_step is None:
        raise UsageError(
            "global_step is None: there is none outside of optimizer_fn. Call this inside it, or write "
            "learning_rate=lambda step: ... with step in its place."
        )
    step = tf.cast(global_step, tf.float64)
    rise, fall = warmup * max_step, (decay_end - warmup) * max_step
    rising = tf.minimum(step / rise, 1.0) if rise else tf.ones([], tf.float64)
    return rising, tf.clip_by_value((step - rise) / fall, 0.0, 1.0)
