"""The learning rate and the step counter of optimizers, which optimizers of TF1 and Keras keep in private names."""

from __future__ import annotations

from typing import Any, Final

import tensorflow as tf

# A public name in Keras, private ones in `tf.compat.v1.train`.
_LEARNING_RATES: Final = ("learning_rate", "_learning_rate", "_lr")


def learning_rate_of(optimizer: Any) -> tf.Tensor | None:
    """Return the learning rate of the next step, None where an optimizer has none that can be found.

    The attribute `learning_rate` of a wrapper is that of the optimizer inside.
    """
    for attribute in _LEARNING_RATES:
        value = getattr(optimizer, attribute, None)
        value = value() if callable(value) else value
        if value is not None:
            return tf.convert_to_tensor(value)
    return None


def set_learning_rate(optimizer: Any, rate: tf.Tensor) -> bool:
    """Replace the learning rate of an optimizer that has not been applied yet; False where it has none to be found."""
    attribute = next((name for name in reversed(_LEARNING_RATES) if hasattr(optimizer, name)), None)
    if attribute is None:
        return False
    # Keras calls a function at each step, and makes anything else the initial value of a variable.
    setattr(optimizer, attribute, (lambda: rate) if hasattr(optimizer, "build") else rate)
    return True


def share_step_counter(optimizer: Any) -> None:
    """Make the step counter of a Keras optimizer count the steps of all workers that share it.

    Keras assigns the value that it has read plus one: steps that other workers count meanwhile would be lost.
    """
    counter: Any = getattr(optimizer, "_iterations", None)
    if isinstance(getattr(counter, "value", None), tf.Variable):
        counter.assign_add = counter.value.assign_add
