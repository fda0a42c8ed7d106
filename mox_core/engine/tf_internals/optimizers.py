"""What mox needs to know of optimizers, and only their private names tell."""

from __future__ import annotations

from typing import Any, Final

import tensorflow as tf

# A public name in Keras, private ones in `tf.compat.v1.train`.
_LEARNING_RATES: Final = ("learning_rate", "_learning_rate", "_lr")


def learning_rate_of(optimizer: Any) -> tf.Tensor | None:
    """Return the learning rate of the step that comes next, None where an optimizer has none that can be found.

    A wrapper answers for the optimizer inside, by its own attribute `learning_rate`.
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
    # Keras asks a function where it is one, and else takes the value as the start of a variable.
    setattr(optimizer, attribute, (lambda: rate) if hasattr(optimizer, "build") else rate)
    return True


def share_step_counter(optimizer: Any) -> None:
    """Make the step counter of a Keras optimizer count the steps of all workers that share it.

    Keras assigns the value that it has read plus one: steps that others have counted meanwhile would be lost.
    """
    counter: Any = getattr(optimizer, "_iterations", None)
    if isinstance(getattr(counter, "value", None), tf.Variable):
        counter.assign_add = counter.value.assign_add
