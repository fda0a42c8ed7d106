"""The optimizer `lion`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.sdk import slot

if TYPE_CHECKING:
    from collections.abc import Iterable


class Lion:
    """Lion (Chen et al. 2023, arXiv 2302.06675): w -= rate * sign(beta1 * m + (1 - beta1) * g), then m moves by beta2.

    mox asks an optimizer for `apply_gradients` only. State is in slots, which are saved with the model.

    Args:
        learning_rate: a number, a tensor, or a function of the step.
        beta1: how much of the momentum is in a step.
        beta2: how much of the momentum stays.

    Raises:
        UsageError: for a number that is out of range.
    """

    def __init__(self, learning_rate: Any, *, beta1: float = 0.9, beta2: float = 0.99) -> None:
        for name, value in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= value < 1:
                raise UsageError(f"lion: {name} is {value!r}; it must be a number from 0 to below 1.")
        if callable(learning_rate):
            learning_rate = learning_rate(tf.compat.v1.train.get_or_create_global_step())
        self.learning_rate = learning_rate
        self._beta1, self._beta2 = beta1, beta2

    def apply_gradients(self, grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]]) -> None:
        """Move the variables by one step."""
        for sparse, variable in grads_and_vars:
            gradient = tf.convert_to_tensor(sparse)
            momentum = slot(variable, "lion", partial(tf.zeros, variable.shape, variable.dtype))
            direction = tf.sign(self._beta1 * momentum + (1 - self._beta1) * gradient)
            variable.assign_sub(tf.cast(self.learning_rate, variable.dtype) * direction)
            momentum.assign(self._beta2 * momentum + (1 - self._beta2) * gradient)
