"""Validation while training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_hooks.schedule import EvaluationHook

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tensorflow as tf


class LogEvaluationMetricHook(EvaluationHook):
    """Log means over validation data every so many epochs of training.

    `model_fn` returns it in both modes: the hook of TRAIN keeps the schedule, that of EVAL names what is averaged. It
    needs `mox.run(..., inter_mode=mox.ModeKeys.EVAL)`. See `EvaluationHook` for the schedule.

    Args:
        monitor_info: name to scalar tensor.
        batch_size: samples in a batch, as given to `mox.run`.
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
        samples_in_train: int,
        samples_in_eval: int,
        evaluate_every_n_epochs: float = 1,
        prefix: str = "[VALIDATION METRICS]",
    ) -> None:
        super().__init__(
            monitor_info,
            batch_size,
            samples_in_train=samples_in_train,
            samples_in_eval=samples_in_eval,
            evaluate_every_n_epochs=evaluate_every_n_epochs,
            prefix=prefix,
        )
