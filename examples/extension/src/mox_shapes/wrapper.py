"""The optimizer wrapper `lookahead`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.sdk import OptimizerWrapper, slot, state_variable

if TYPE_CHECKING:
    from collections.abc import Iterable


class Lookahead(OptimizerWrapper):
    """Slow weights that follow the fast ones of the optimizer inside (Zhang et al. 2019, arXiv 1907.08610).

    Every `period` steps the slow weights go a part of the way to the fast ones, which go on from there.

    Args:
        optimizer: an optimizer of `tf.compat.v1.train`, of Keras, or another wrapper.
        period: steps.
        rate: the part of the way.

    Raises:
        UsageError: for a number that is out of range.
    """

    def __init__(self, optimizer: Any, *, period: int = 5, rate: float = 0.5) -> None:
        super().__init__(optimizer)
        if not isinstance(period, int) or period < 1:
            raise UsageError(f"lookahead: period is {period!r}; it must be a whole number, 1 or more.")
        if not 0 < rate <= 1:
            raise UsageError(f"lookahead: rate is {rate!r}; it must be a number above 0, and 1 at most.")
        self._period, self._rate = period, rate

    def apply_gradients(self, grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]]) -> None:
        """Move the fast weights, and the slow ones where a period ends."""
        pairs = list(grads_and_vars)
        slow_and_fast = [(slot(fast, "lookahead", fast.read_value), fast) for _, fast in pairs]
        count = state_variable("lookahead/count", lambda: tf.constant(0, tf.int64))
        # In the first step also where the weights have come from a checkpoint that knows no slow ones.
        for slow, fast in slow_and_fast:
            slow.assign(tf.where(count == 0, fast, slow))
        super().apply_gradients(pairs)
        is_end = count.assign_add(1) % self._period == 0
        for slow, fast in slow_and_fast:
            slow.assign_add(tf.where(is_end, self._rate, 0.0) * (fast - slow))
            fast.assign(tf.where(is_end, slow, fast))
