"""Gradient accumulation: the gradients of several steps, applied as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.sdk import (
    OptimizerWrapper,
    apply_if,
    independent_workers,
    slot,
    state_variable,
    sum_over_workers,
)
from mox_optimizers import checks
from mox_optimizers.asynchronous import warn_if_synchronous

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Gradient = tf.Tensor | tf.IndexedSlices
    Pairs = Iterable[tuple[tf.Tensor, tf.Variable]]

_BYTES_OF_FLOAT32: Final = 4


def batch_gradients(optimizer: Any, *, num_batches: int = 8, sync_on_apply: bool = True) -> Any:
    """Wrap an optimizer so that it is applied once in `num_batches` steps, with the mean of their gradients.

    The weights then are those of batches `num_batches` times as large, where a loss is the mean over its batch and no
    layer looks at the batch as a whole (batch normalization does). The global step counts every step, and a learning
    rate that depends on it follows: an update uses the rate of the step that ends its period. The optimizer's own
    counters, such as Keras's `iterations` with the schedules of a Keras optimizer, count updates.

    Args:
        optimizer: an optimizer of `tf.compat.v1.train`, of Keras, or another wrapper.
        num_batches: steps in a period; with 1, the optimizer itself is returned.
        sync_on_apply: whether workers that step on their own (`--sync_replicas=False` without `--ps_hosts`) wait for
            each other where they apply their gradients, and apply the mean of all: the only time they communicate.

    Raises:
        UsageError: if an option is not allowed.
    """
    num_batches = checks.count("batch_gradients: num_batches", num_batches)
    if type(sync_on_apply) is not bool:
        raise UsageError(f"batch_gradients: sync_on_apply is {sync_on_apply!r}; it must be True or False.")
    if num_batches == 1:
        return optimizer
    warn_if_synchronous()
    return BatchGradients(optimizer, num_batches, sync_on_apply=sync_on_apply)


class BatchGradients(OptimizerWrapper):
    """An optimizer that is applied at the end of each period, with the mean gradients of it."""

    def __init__(self, optimizer: Any, num_batches: int, *, sync_on_apply: bool) -> None:
        super().__init__(optimizer)
        self._num_batches = num_batches
        self.averages_workers = sync_on_apply

    def apply_gradients(self, grads_and_vars: Pairs) -> None:
        """Add the gradients of one step to the sums, and apply the means at the end of a period."""
        pairs = list(grads_and_vars)
        sums = [_Sum(gradient, variable) for gradient, variable in pairs]
        for each in sums:
            each.add()
        count = state_variable("batch_gradients/count", lambda: tf.constant(0, tf.int64))
        # Not a remainder: a run that is resumed with a shorter period applies the sums at once.
        taken = count + 1
        full = taken >= self._num_batches
        count.assign(tf.where(full, tf.zeros_like(taken), taken))
        apply_if(full, _ApplyMeans(self.optimizer, sums, taken), pairs)


class _ApplyMeans(OptimizerWrapper):
    """Apply the means of the sums in place of gradients, and reset the sums."""

    def __init__(self, optimizer: Any, sums: Sequence[_Sum], count: tf.Tensor) -> None:
        super().__init__(optimizer)
        self._sums = sums
        self._count = count

    def apply_gradients(self, grads_and_vars: Pairs) -> None:
        del grads_and_vars  # those of the last step, which are in the sums
        totals = sum_over_workers([tensor for each in self._sums for tensor in each.tensors()])
        count, remaining = self._count * independent_workers(), iter(totals)
        means = [(each.mean(remaining, count), each.variable) for each in self._sums]
        self.optimizer.apply_gradients(means)
        for each in self._sums:
            each.empty()


class _Sum:
    """The gradients of one variable since the last update, in slots of the variable.

    For sparse gradients also the rows are kept, as some optimizers do not update rows without a gradient.

    Attributes:
        gradient: the gradient of this step.
        variable: the variable.
    """

    def __init__(self, gradient: Gradient, variable: tf.Variable) -> None:
        self.gradient = gradient
        self.variable = variable
        shape, dtype = variable.shape, variable.dtype
        if dtype.size < _BYTES_OF_FLOAT32:  # a sum of many small numbers needs more digits than each of them
            dtype = tf.float32
        self._dtype = dtype
        self._total = slot(variable, "batch_gradients", lambda: tf.zeros(shape, dtype))
        if isinstance(gradient, tf.IndexedSlices):
            self._rows = slot(variable, "batch_gradients_rows", lambda: tf.zeros(shape[:1], tf.bool))

    def add(self) -> None:
        gradient = self.gradient
        if not isinstance(gradient, tf.IndexedSlices):
            self._total.assign_add(tf.cast(gradient, self._dtype))
            return
        indices = gradient.indices
        self._total.scatter_add(tf.IndexedSlices(tf.cast(gradient.values, self._dtype), indices))
        self._rows.scatter_update(tf.IndexedSlices(tf.ones_like(indices, tf.bool), indices))

    def tensors(self) -> list[tf.Tensor]:
        """Return the sum, and for sparse gradients a vector that is above 0 for rows that had one."""
        rows = [tf.cast(self._rows, self._dtype)] if isinstance(self.gradient, tf.IndexedSlices) else []
        return [self._total.read_value(), *rows]

    def mean(self, totals: Iterator[tf.Tensor], count: tf.Tensor) -> Gradient:
        """Return the mean gradient, from `tensors` summed over workers."""
        gradient, total = self.gradient, next(totals)
        count = tf.cast(count, self._dtype)
        if not isinstance(gradient, tf.IndexedSlices):
            return tf.cast(total / count, gradient.dtype)
        indices = tf.cast(tf.where(next(totals) > 0)[:, 0], gradient.indices.dtype)
        means = tf.cast(tf.gather(total, indices) / count, gradient.dtype)
        return tf.IndexedSlices(means, indices, dense_shape=gradient.dense_shape)

    def empty(self) -> None:
        self._total.assign(tf.zeros_like(self._total))
        if isinstance(self.gradient, tf.IndexedSlices):
            self._rows.assign(tf.zeros_like(self._rows))
