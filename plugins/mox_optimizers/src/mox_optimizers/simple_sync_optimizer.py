"""Workers that step on their own and average their gradients in each step, after MoXing's SimpleSyncOptimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.sdk import OptimizerWrapper, independent_workers, number_of_workers, sum_over_workers
from mox_core.whole_numbers import is_whole_number
from mox_optimizers import checks

if TYPE_CHECKING:
    from collections.abc import Iterable


class SimpleSyncOptimizer(OptimizerWrapper):
    """An optimizer that is given the mean of all workers' gradients.

    The original set `--sync_replicas=False` and put this around its optimizer to have workers step together all the
    same: they wait for each other where they apply gradients. Here `--sync_replicas`, the default, does it by itself;
    then, and in a single process, gradients are means already and this changes nothing.

    Args:
        opt: an optimizer of `tf.compat.v1.train`, of Keras, or a wrapper.
        num_workers: the workers of the run.
        task_index: which of them this one is. mox knows it, so it is only checked.

    Raises:
        UsageError: if the run has another number of workers, or such workers share weights on parameter servers.
    """

    averages_workers = True

    def __init__(self, opt: Any, num_workers: int = 1, task_index: int = 0) -> None:
        super().__init__(opt)
        checks.count("SimpleSyncOptimizer: num_workers", num_workers)
        if not is_whole_number(task_index, least=0) or task_index >= num_workers:
            raise UsageError(
                f"SimpleSyncOptimizer: task_index is {task_index!r}; it must be a whole number from 0, below "
                f"num_workers ({num_workers})."
            )
        if num_workers != number_of_workers():
            raise UsageError(
                f"SimpleSyncOptimizer: num_workers is {num_workers}, and gradients of {number_of_workers()} can be "
                "averaged in this run. Name all workers by --worker_hosts, and no --ps_hosts with "
                "--sync_replicas=False: workers beside parameter servers share their weights and wait for nobody."
            )

    def apply_gradients(self, grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]]) -> None:
        """Average the gradients over the workers, and apply them."""
        pairs = list(grads_and_vars)
        if (workers := independent_workers()) > 1:
            sums = sum_over_workers([tf.convert_to_tensor(gradient) for gradient, _ in pairs])
            pairs = [(each / tf.cast(workers, each.dtype), pair[1]) for each, pair in zip(sums, pairs, strict=True)]
        self.optimizer.apply_gradients(pairs)
