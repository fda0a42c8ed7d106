"""Variables that the flags leave out of the training, and that are trained from a step on all the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import field, frozen

from mox_core.engine.tensors import map_values
from mox_core.errors import UsageError
from mox_core.name_filter import NameFilter
from mox_core.name_patterns import check_matches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mox_core.engine.tensors import GradsAndVars

UNFREEZING: Final = "mox/unfreezing"
"""The collection of pairs of a pattern and the global step from which variables of such names are trained too."""


@frozen
class Unfreezing:
    """From which global step frozen variables are trained.

    Attributes:
        frozen: the flags that leave them out before.
        steps: patterns with steps.
    """

    frozen: NameFilter = field(factory=NameFilter)
    steps: tuple[tuple[str, int], ...] = ()

    def start_of(self, variable: tf.Variable) -> int | None:
        """Return the step from which a variable is trained; None for one that is trained always, or never."""
        name = variable.name.partition(":")[0]
        if self.frozen(name):
            return None
        return min((step for pattern, step in self.steps if re.search(pattern, name)), default=None)

    def check(self, variables: Iterable[tf.Variable]) -> None:
        """Refuse patterns that unfreeze nothing.

        Args:
            variables: what can be trained.

        Raises:
            UsageError: with what they may have meant.
        """
        names = [each.name.partition(":")[0] for each in variables]
        for pattern, _ in self.steps:
            check_matches(pattern, names, "a hook that unfreezes variables")
            if not any(re.search(pattern, name) and not self.frozen(name) for name in names):
                raise UsageError(
                    f"a hook unfreezes {pattern!r}, and nothing of that name is frozen: it is trained from the "
                    "beginning. Freeze it first, by --trainable_exclude_patterns, or name what is to be trained from "
                    "the beginning in --trainable_include_patterns."
                )


@frozen
class Stages:
    """The part of the variables that an optimizer is applied to, which grows.

    Attributes:
        starts: the step from which a variable is trained, by its `id`, of those that are frozen before.
        step: the global step of the present step.
    """

    starts: dict[int, int]
    step: tf.Tensor

    def masked(self, pairs: GradsAndVars) -> GradsAndVars:
        """Return gradients, which are zero for variables that are still frozen: they do not count in a norm."""
        return [(self._mask(gradient, variable), variable) for gradient, variable in pairs]

    def of(self, pairs: GradsAndVars) -> Iterable[tuple[tf.Tensor, GradsAndVars]]:
        """Return, from the last stage to the first, whether it is the present one, and what is trained in it."""
        steps = sorted({self.starts[id(variable)] for _, variable in pairs if id(variable) in self.starts})
        reached = tf.add_n([tf.zeros([], tf.int32), *(tf.cast(self.step >= step, tf.int32) for step in steps)])
        for number in range(len(steps), -1, -1):
            last = steps[number - 1] if number else 0
            yield reached == number, [pair for pair in pairs if self.starts.get(id(pair[1]), 0) <= last]

    def _mask(self, gradient: Any, variable: tf.Variable) -> Any:
        start = self.starts.get(id(variable))
        if start is None:
            return gradient
        return map_values(lambda values: tf.where(self.step >= start, values, tf.zeros_like(values)), gradient)
