"""Learning rates by the names of variables: a new head learns fast, and what was trained before slowly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.name_patterns import check_matches, check_pattern
from mox_core.sdk import OptimizerWrapper
from mox_optimizers import checks

if TYPE_CHECKING:
    from collections.abc import Iterable

_WHOSE: Final = "rate_multipliers"


def rate_multipliers(optimizer: Any, *, multipliers: Mapping[str, float]) -> RateMultipliers:
    """Wrap an optimizer so that it has other learning rates for some variables.

    What the optimizer changes of a variable in a step is multiplied, not the gradient: Adam and its like divide by the
    size of gradients, so that a multiple of them would change nothing. That is the same as another learning rate, with
    momentum too, and for decoupled weight decay, which is a part of what is changed. Slots are those of the optimizer
    alone.

    Args:
        optimizer: an optimizer of `tf.compat.v1.train`, of Keras, or another wrapper.
        multipliers: regular expressions, searched in the names of variables, with the factors of the learning rate,
            each above 0. The first that matches counts; variables that none matches have the learning rate itself.

    Raises:
        UsageError: if a factor or a pattern is not allowed, a pattern matches no variable, or the optimizer has no
            steps that could be multiplied.
    """
    if not isinstance(multipliers, Mapping) or not multipliers:
        raise UsageError(
            f"{_WHOSE}: multipliers is {multipliers!r}; it must map patterns of names to factors: {{'head/': 10.0}}."
        )
    for pattern, factor in multipliers.items():
        check_pattern(pattern, f"{_WHOSE}: multipliers")
        if not checks.is_number(factor) or factor <= 0:
            raise UsageError(
                f"{_WHOSE}: the factor of {pattern!r} is {factor!r}; it must be a number above 0. What is not to be "
                "trained at all is named in --trainable_exclude_patterns."
            )
    return RateMultipliers(optimizer, {pattern: float(factor) for pattern, factor in multipliers.items()})


class RateMultipliers(OptimizerWrapper):
    """An optimizer whose changes of variables are multiplied.

    Attributes:
        multipliers: patterns of names with factors.
    """

    def __init__(self, optimizer: Any, multipliers: dict[str, float]) -> None:
        super().__init__(optimizer)
        self.multipliers = multipliers
        _check_steps(optimizer)
        key = tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES
        names = [] if tf.executing_eagerly() else [_name(each) for each in tf.compat.v1.get_collection(key)]
        for number, pattern in enumerate(multipliers if names else ()):
            check_matches(pattern, names, f"{_WHOSE}: multipliers")
            before = list(multipliers)[:number]
            if all(any(re.search(each, name) for each in before) for name in names if re.search(pattern, name)):
                raise UsageError(
                    f"{_WHOSE}: {pattern!r} matches only variables that patterns before it match "
                    f"({', '.join(before)}), and "
                    "the first one counts: put it in front of them."
                )

    def apply_gradients(self, grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]]) -> None:
        """Apply the optimizer, and multiply what it has changed."""
        pairs = list(grads_and_vars)
        factors = {id(variable): self._factor(variable) for _, variable in pairs}
        before = [(variable, variable.read_value()) for _, variable in pairs if factors[id(variable)] != 1]
        self.optimizer.apply_gradients(pairs)
        for variable, old in before:
            value = old + tf.cast(factors[id(variable)], variable.dtype) * (variable.read_value() - old)
            constraint = self.constraint_of(variable)
            variable.assign(value if constraint is None else constraint(value))

    def _factor(self, variable: tf.Variable) -> float:
        name = _name(variable)
        return next((factor for pattern, factor in self.multipliers.items() if re.search(pattern, name)), 1.0)


def _name(variable: tf.Variable) -> str:
    name: str = variable.name.partition(":")[0]
    return re.sub(r"/replica_\d+$", "", name)


def _check_steps(optimizer: Any) -> None:
    """Refuse optimizers for which a multiple of a change is not that of another learning rate."""
    while isinstance(optimizer, OptimizerWrapper):
        optimizer = optimizer.optimizer
    kind = type(optimizer).__name__
    if kind in {"Ftrl", "FtrlOptimizer"}:
        raise UsageError(
            f"{_WHOSE}: {kind} computes weights anew from its sums in each step, so that a multiple of a step is none "
            "of its learning rate: use another optimizer."
        )
    if getattr(optimizer, "use_ema", False):
        raise UsageError(
            f"{_WHOSE}: {kind} has use_ema=True, and would average weights whose steps are not multiplied yet: leave "
            "one of the two out."
        )
