"""From the forms of a learning rate to what an optimizer of `tf.compat.v1.train` takes.

A rate that depends on the step becomes a tensor of the current graph, made from its global step: it is computed anew
in every step, is logged, and a resumed run goes on with it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import tensorflow as tf

from mox_core.errors import UsageError

LearningRate = float | tf.Tensor | tf.Variable | Callable[..., Any]
"""A number, a scalar tensor, or a function of the step (or of nothing), such as a Keras `LearningRateSchedule`."""

_ALLOWED = "a number, a scalar tensor, a LearningRateSchedule of Keras, or a function of the step"


def resolve(learning_rate: LearningRate) -> float | tf.Tensor | tf.Variable:
    """Return the learning rate as a number or as a tensor of the current graph.

    Args:
        learning_rate: a function is called here, once; its step is the global step, an int64 tensor.

    Raises:
        UsageError: if it is negative, not finite, not a scalar, or of another type.
    """
    return _checked(_called(learning_rate) if callable(learning_rate) else learning_rate)


def _checked(rate: Any) -> float | tf.Tensor | tf.Variable:
    if isinstance(rate, tf.Tensor | tf.Variable):
        if rate.shape.rank not in (None, 0) or not rate.dtype.is_floating:
            raise UsageError(f"the learning rate must be one floating-point number, not {rate!r}.")
        return rate
    if isinstance(rate, bool) or not isinstance(rate, Real):
        raise UsageError(f"learning_rate {rate!r} is not allowed: give {_ALLOWED}.")
    if not math.isfinite(rate) or rate < 0:
        raise UsageError(f"learning_rate {rate!r} is not allowed: it must be finite, and 0 or more.")
    return float(rate)


def _called(schedule: Callable[..., Any]) -> Any:
    if not _takes_step(schedule):
        return schedule()
    step = tf.convert_to_tensor(tf.compat.v1.train.get_or_create_global_step())
    try:
        return schedule(step)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the learning rate {schedule!r} failed on the step, an int64 tensor: {error}\n"
            "If it calculates with fractions, let it begin with step = tf.cast(step, tf.float32)."
        ) from error


def _takes_step(schedule: Callable[..., Any]) -> bool:
    """Return whether a function takes the step, or no arguments; an optional parameter alone could mean either."""
    try:
        parameters = inspect.signature(schedule).parameters.values()
    except (TypeError, ValueError):  # some builtins and extension types have no signature
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    if len(required) > 1 or (positional and not required):
        raise UsageError(
            f"the learning rate {schedule!r} must take one argument, the step, or none; "
            f"it has {', '.join(map(str, positional))}."
        )
    return bool(required) or any(p.kind is p.VAR_POSITIONAL for p in parameters)
