"""The schedule of validation while training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core import AggregativeSessionRunHook, UsageError
from mox_core.quoting import shown
from mox_core.sdk import metric_text

if TYPE_CHECKING:
    from collections.abc import Mapping


class EvaluationHook(AggregativeSessionRunHook):
    """The base of hooks that evaluate every so many epochs of training; a subclass overrides `evaluated`.

    `model_fn` returns it in both modes: the hook of TRAIN keeps the schedule, that of EVAL names what is averaged. It
    needs `mox.run(..., inter_mode=mox.ModeKeys.EVAL)`.

    There is an evaluation after every ceil(samples_in_train * evaluate_every_n_epochs / batch_size) steps on one
    device, of ceil(samples_in_eval / batch_size) batches from the beginning of the validation input, or all if there
    are fewer.

    Args:
        monitor_info: name to scalar tensor, or to a metric.
        batch_size: samples in a batch, as given to `mox.run`: with several replicas a step has one for each.
        samples_in_train: samples in an epoch of training.
        samples_in_eval: samples to validate with.
        evaluate_every_n_epochs: epochs between two evaluations; may be a fraction.
        prefix: what the line of the log begins with.

    Raises:
        UsageError: if a number is not above 0, or monitor_info is empty.
    """

    def __init__(
        self,
        monitor_info: Mapping[str, tf.Tensor],
        batch_size: int,
        *,
        samples_in_train: int,
        samples_in_eval: int,
        evaluate_every_n_epochs: float,
        prefix: str,
    ) -> None:
        super().__init__()
        if not monitor_info:
            raise UsageError(
                f"monitor_info of {type(self).__name__} is {monitor_info!r}; give names and scalar tensors."
            )
        numbers = {
            "batch_size": batch_size,
            "samples_in_train": samples_in_train,
            "samples_in_eval": samples_in_eval,
            "evaluate_every_n_epochs": evaluate_every_n_epochs,
        }
        for name, value in numbers.items():
            if not value > 0:
                raise UsageError(f"{name} of {type(self).__name__} is {value!r}; it must be above 0.")
        self.monitor_info = monitor_info
        self._batches_in_period = samples_in_train * evaluate_every_n_epochs / batch_size
        self._eval_batches = samples_in_eval / batch_size
        self._prefix = prefix
        self._first_step, self._period, self._eval_steps = 0, 1, 1  # set by the session

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Compute the schedule from the number of replicas and the first step, so that a resumed run keeps it."""
        del coord
        # Rounded: 1100 * 1.1 / 10 is 121.00000000000003, and means 121 steps.
        self._period = max(1, math.ceil(round(self._batches_in_period / session.num_replicas, 6)))
        self._eval_steps = math.ceil(round(self._eval_batches / session.num_replicas, 6))
        self._first_step = int(session.run(tf.compat.v1.train.get_global_step(session.graph)))

    def next_step(self, step: int) -> int | None:
        """Return the last step of the period."""
        return step + -(self._first_step + step + 1) % self._period

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Evaluate, and log the means."""
        del run_values
        means = run_context.run_inter_mode(self._eval_steps)
        values = [f"{shown(name)}: {metric_text(value)}" for name, value in means.items()]
        self.say(f"step: {run_context.global_step}", *values)
        self.evaluated(run_context, means)

    def evaluated(self, run_context: Any, means: Mapping[str, float]) -> None:
        """Act on the means of an evaluation; the base does nothing."""

    def say(self, *parts: str) -> None:
        """Write a line of the log, in the form of the manual's chapter 4.5.2."""
        tf.get_logger().info(" ".join([self._prefix, *parts]))

    def support_aggregation(self) -> bool:
        """Return True: one evaluation serves all replicas."""
        return True

    def support_sync_workers(self) -> bool:
        """Return True: workers evaluate at the same step."""
        return True

    def run_inter_mode(self) -> bool:
        """Return True: it evaluates."""
        return True
