"""LARS: a learning rate for each layer, by the norms of its weights and of its gradient."""

from __future__ import annotations

import math
import re
from numbers import Real
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.sdk import OptimizerWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Gradient = tf.Tensor | tf.IndexedSlices

_NORMALIZATION: Final = re.compile(r"(batch|layer|group|instance|rms)_?norm", re.IGNORECASE)


def lars(
    optimizer: Any,
    *,
    ratio: float = 0.001,
    weight_decay: float = 0.0001,
    exclude_patterns: Sequence[str] | None = None,
) -> Lars:
    """Wrap an optimizer in layer-wise adaptive rate scaling: You, Gitman, Ginsburg 2017 (arXiv 1708.03888).

    The optimizer gets, in place of the gradient g of weights w,

        ratio * |w| / (|g| + weight_decay * |w|) * (g + weight_decay * w)

    with Euclidean norms, never in less than float32; where |w| or |g| is zero, the factor is 1. Around momentum that is
    algorithm 1 of the paper. Excluded variables have their gradient as it is, without weight decay.

    Args:
        optimizer: an optimizer of `tf.compat.v1.train`, of Keras, or another wrapper.
        ratio: eta of the paper, the trust coefficient.
        weight_decay: beta of the paper. It replaces regularization losses: use one of the two.
        exclude_patterns: regular expressions searched in the names of variables, to exclude those. By default variables
            with less than two dimensions (biases) and those of normalization layers.

    Raises:
        UsageError: if an option is not allowed.
    """
    _check_number("ratio", ratio, positive=True)
    _check_number("weight_decay", weight_decay, positive=False)
    return Lars(optimizer, float(ratio), float(weight_decay), _excluding(exclude_patterns))


def _check_number(name: str, value: object, *, positive: bool) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (positive and value == 0):  # type: ignore[operator]  # a number by then
        rule = "above 0" if positive else "0 or more"
        raise UsageError(f"lars: {name} is {value!r}; it must be a number, {rule}.")


def _excluding(patterns: Sequence[str] | None) -> Callable[[tf.Variable], bool]:
    if patterns is None:
        return lambda variable: variable.shape.rank < 2 or bool(_NORMALIZATION.search(variable.name))  # noqa: PLR2004
    if isinstance(patterns, str) or not all(isinstance(pattern, str) for pattern in patterns):
        raise UsageError(f"lars: exclude_patterns is {patterns!r}; it must be a list of regular expressions.")
    try:
        compiled = [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise UsageError(
            f"lars: exclude_patterns holds {error.pattern!r}, which is no regular expression: {error}."
        ) from error
    return lambda variable: any(pattern.search(variable.name.partition(":")[0]) for pattern in compiled)


class Lars(OptimizerWrapper):
    """An optimizer that is given scaled gradients; it has no state of its own."""

    def __init__(
        self, optimizer: Any, ratio: float, weight_decay: float, excludes: Callable[[tf.Variable], bool]
    ) -> None:
        super().__init__(optimizer)
        self._ratio = ratio
        self._weight_decay = weight_decay
        self._excludes = excludes

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Gradient, tf.Variable]]) -> None:
        """Scale the gradients of one step, and apply them."""
        self.optimizer.apply_gradients(
            [
                (gradient if self._excludes(variable) else self._scaled(gradient, variable), variable)
                for gradient, variable in grads_and_vars
            ]
        )

    def _scaled(self, gradient: Gradient, variable: tf.Variable) -> tf.Tensor:
        # Dense, as all rows decay; float32 at least, as float16 holds no square of a small or a large number.
        wide = tf.float64 if variable.dtype == tf.float64 else tf.float32
        g = tf.cast(tf.convert_to_tensor(gradient), wide)
        w = tf.cast(variable, wide)
        norm_g, norm_w = tf.norm(g), tf.norm(w)
        both = tf.logical_and(norm_g > 0, norm_w > 0)
        factor = tf.where(both, tf.math.divide_no_nan(self._ratio * norm_w, norm_g + self._weight_decay * norm_w), 1.0)
        return tf.cast(factor * (g + self._weight_decay * w), gradient.dtype)
