"""Elastic averaging SGD: workers that step on their own, each pulled towards a common center."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.sdk import (
    OptimizerWrapper,
    independent_workers,
    slot,
    state_variable,
    sum_over_workers,
)
from mox_optimizers import checks
from mox_optimizers.asynchronous import warn_if_synchronous

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BETA: Final = 0.9  # in the experiments of the paper


def easgd(optimizer: Any, *, moving_rate: float | None = None, communication_period: int = 10) -> ElasticAveraging:
    """Wrap an optimizer in elastic averaging: Zhang, Choromanska, LeCun 2015 (arXiv 1412.6651), algorithm 1.

    Every `communication_period` steps, the first included, a worker's weights x and the center c move towards each
    other, before the optimizer takes its step with the gradient at x:

        x, c = x - moving_rate * (x - c), c + moving_rate * (x - c)

    On p workers that step on their own (`--sync_replicas=False` without `--ps_hosts`) the center moves by the sum of
    the differences over workers, the only time they communicate; every worker keeps the same center. On one worker it
    is the same algorithm with p = 1, in which the center is an average over time. The center of a variable is the slot
    `<variable>/easgd_center`, and begins at the variable's value.

    Args:
        optimizer: an optimizer of `tf.compat.v1.train`, of Keras, or another wrapper.
        moving_rate: alpha of the paper, between 0 and 1; by default 0.9 / p on p workers, as in its experiments.
        communication_period: tau of the paper, in steps.

    Raises:
        UsageError: if an option is not allowed.
    """
    rate = _BETA / independent_workers() if moving_rate is None else moving_rate
    if not checks.is_number(rate) or not 0 < rate < 1:
        raise UsageError(f"easgd: moving_rate is {moving_rate!r}; it must be a number above 0 and below 1.")
    period = checks.count("easgd: communication_period", communication_period)
    warn_if_synchronous()
    return ElasticAveraging(optimizer, float(rate), period)


class ElasticAveraging(OptimizerWrapper):
    """An optimizer whose variables are pulled towards a center.

    Attributes:
        moving_rate: the part of the distance that both move in one communication.
    """

    averages_workers = True

    def __init__(self, optimizer: Any, moving_rate: float, communication_period: int) -> None:
        super().__init__(optimizer)
        self.moving_rate = moving_rate
        self._period = communication_period

    def apply_gradients(self, grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]]) -> None:
        """Move variables and centers at the beginning of a period, then apply the gradients."""
        pairs = list(grads_and_vars)
        variables = [variable for _, variable in pairs]
        centers = [_center(variable) for variable in variables]
        clock = state_variable("easgd/clock", lambda: tf.constant(0, tf.int64))
        now = clock.read_value()

        def communicate() -> tf.Tensor:
            self._communicate(variables, centers, first=now == 0)
            return tf.constant(True)

        tf.cond(now % self._period == 0, communicate, lambda: tf.constant(False))
        clock.assign_add(1)
        self.optimizer.apply_gradients(pairs)

    def _communicate(
        self, variables: Sequence[tf.Variable], centers: Sequence[tf.Variable], *, first: tf.Tensor
    ) -> None:
        """Move variables and centers towards each other, summed over workers."""
        # The first time also if the weights come from a checkpoint without centers.
        there = [tf.where(first, variable, center) for variable, center in zip(variables, centers, strict=True)]
        pairs = zip(variables, there, strict=True)
        differences = [tf.cast(self.moving_rate, variable.dtype) * (variable - place) for variable, place in pairs]
        pulls = sum_over_workers(differences)
        for variable, center, place, own, all_ in zip(variables, centers, there, differences, pulls, strict=True):
            variable.assign_sub(own)
            center.assign(place + all_)


def _center(variable: tf.Variable) -> tf.Variable:
    return slot(variable, "easgd_center", variable.read_value)
