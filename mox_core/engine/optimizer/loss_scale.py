"""Loss scaling: gradients that float16 would round to zero are kept."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.optimizer.wrappers import apply_if, state_variable
from mox_core.engine.tensors import map_values
from mox_core.engine.variables.names import SKIPPED_STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_core.engine.tensors import GradsAndVars

# As in Keras's LossScaleOptimizer. (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2, leave the numbers open.)
_FIRST_SCALE, _FACTOR, _STEPS_TO_GROW = 2.0**15, 2.0, 2000


class NoLossScale:
    """No loss scaling."""

    def scale(self, loss: tf.Tensor) -> tf.Tensor:
        """Return the loss."""
        return loss

    def unscale(self, pairs: GradsAndVars) -> GradsAndVars:
        """Return the gradients."""
        return pairs

    def end(self) -> None:
        """Do nothing."""

    def apply(self, optimizers: Sequence[Any], updates: Sequence[GradsAndVars]) -> None:
        """Apply every optimizer."""
        for optimizer, pairs in zip(optimizers, updates, strict=True):
            optimizer.apply_gradients(pairs)


class LossScale:
    """Loss scaling: losses are multiplied, gradients divided, and steps with gradients that are not finite skipped.

    Micikevicius et al. 2018, arXiv 1710.03740. A dynamic scale begins at 32768, is halved at each skipped step, and
    doubled after 2,000 good ones.

    Args:
        value: the scale, or 'dynamic'.
    """

    def __init__(self, value: float | str) -> None:
        self._dynamic = value == "dynamic"
        self._skipped = state_variable(SKIPPED_STEPS, lambda: tf.constant(0, tf.int64))
        if self._dynamic:
            self._good = state_variable("mox/good_steps", lambda: tf.constant(0, tf.int64))
            self._variable = state_variable("mox/loss_scale", lambda: tf.constant(_FIRST_SCALE))
            self._scale: tf.Tensor = self._variable.read_value()
            tf.summary.scalar("loss_scale", self._scale)
        else:
            self._scale = tf.constant(float(value))

    def scale(self, loss: tf.Tensor) -> tf.Tensor:
        """Return the loss times the scale."""
        return loss * tf.cast(self._scale, loss.dtype)

    def unscale(self, pairs: GradsAndVars) -> GradsAndVars:
        """Return the gradients divided by the scale."""
        return unscaled(pairs, self._scale)

    def apply(self, optimizers: Sequence[Any], updates: Sequence[GradsAndVars]) -> None:
        """Apply all optimizers, or none where some gradient is not finite."""
        gradients = [gradient for pairs in updates for gradient, _ in pairs]
        tests = [tf.reduce_all(tf.math.is_finite(_values(gradient))) for gradient in gradients]
        finite: tf.Tensor = functools.reduce(operator.and_, tests)
        for optimizer, pairs in zip(optimizers, updates, strict=True):
            apply_if(finite, optimizer, pairs)
        self._finite = finite

    def end(self) -> None:
        """Count a skipped step, after the updates of all replicas, and adapt the scale of the next step."""
        finite = self._finite
        self._skipped.assign_add(tf.cast(tf.logical_not(finite), tf.int64))
        if self._dynamic:
            zero = tf.constant(0, tf.int64)
            good = tf.where(finite, self._good + 1, zero)
            grows = good >= _STEPS_TO_GROW
            grown = tf.where(grows, self._scale * _FACTOR, self._scale)
            # The scale stays between 1 and half of the largest float32.
            bounded = tf.minimum(grown, tf.float32.max / _FACTOR)
            self._variable.assign(tf.where(finite, bounded, tf.maximum(self._scale / _FACTOR, 1.0)))
            self._good.assign(tf.where(grows, zero, good))


def unscaled(pairs: GradsAndVars, scale: tf.Tensor) -> GradsAndVars:
    """Return gradients divided by a scale."""
    return [(map_values(lambda values: values / tf.cast(scale, values.dtype), g), v) for g, v in pairs]


def _values(gradient: Any) -> tf.Tensor:
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
