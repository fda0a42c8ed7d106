"""Weights that are not finite are neither saved nor exported: no loss has to show them.

State that is not of the model may be infinite: the best value that a hook has seen so far, say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf
from attrs import define, field

from mox_core.errors import NanLossError

if TYPE_CHECKING:
    from collections.abc import Mapping


@define
class FiniteWeights:
    """The check of the weights of a run.

    A variable that is not trained may begin with what is not finite, a mask of -inf for instance; it may not become so.

    Attributes:
        exempt: the names of those that began so.
    """

    exempt: frozenset[str] = field(factory=frozenset, init=False)

    def begin(self, weights: Mapping[str, tf.Variable]) -> None:
        """Look at the weights with which a training begins."""
        others = {name: variable.read_value() for name, variable in weights.items() if not variable.trainable}
        self.exempt = frozenset(_not_finite(others))

    def check(self, weights: Mapping[str, tf.Tensor], step: int) -> None:
        """Refuse weights that are not finite.

        Args:
            weights: the weights of the model by name.
            step: the global step, for the error.

        Raises:
            NanLossError: with the names of the variables.
        """
        bad = _not_finite({name: value for name, value in weights.items() if name not in self.exempt})
        if not bad:
            return
        name, *others = bad
        value = tf.cast(weights[name], tf.complex128 if weights[name].dtype.is_complex else tf.float64)
        finite = _is_finite(value)
        what = "NaN" if bool(tf.reduce_any(tf.math.is_nan(tf.abs(value)))) else "inf"
        count = int(tf.reduce_sum(tf.cast(tf.logical_not(finite), tf.int64)))
        more = f", and {len(others)} other variables are not finite either ({', '.join(others[:3])})" if others else ""
        raise NanLossError(
            f"variable {name!r} holds {what} at global step {step}, in {count} of {int(tf.size(value))} numbers{more}: "
            "training stops, and its weights are not saved. The loss need not show it: look for a sample that is not "
            "finite, for a division by zero behind tf.where or a ReLU, and try a lower learning rate."
        )


def _not_finite(values: Mapping[str, tf.Tensor]) -> list[str]:
    """Return the names of those that hold NaN or infinity; the answers of all come from the devices at once."""
    numbers = {name: each for name, each in values.items() if each.dtype.is_floating or each.dtype.is_complex}
    if not numbers:
        return []
    finite = tf.stack([tf.reduce_all(_is_finite(each)) for each in numbers.values()]).numpy()
    return [name for name, good in zip(numbers, finite, strict=True) if not good]


def _is_finite(value: tf.Tensor) -> tf.Tensor:
    if value.dtype.is_complex:
        return tf.logical_and(tf.math.is_finite(tf.math.real(value)), tf.math.is_finite(tf.math.imag(value)))
    return tf.math.is_finite(value if value.dtype.size > 1 else tf.cast(value, tf.float32))
