"""The log lines about the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from mox_core.metric_text import metric_text

if TYPE_CHECKING:
    from mox_core.engine.loop.loop import LoopResult


def report_evaluation(result: LoopResult) -> None:
    """Log the means over all steps of a run that does not train, as the original did."""
    means = "\t".join(f"{name}: {metric_text(value, '')}" for name, value in result.means.items())
    tf.get_logger().info("%s\t[%d examples]", means, result.samples)  # the tab is there without means too


def report_stop(result: LoopResult, global_step: int, skipped_steps: int) -> None:
    """Log why a training run ended, and how many of its steps had to be skipped."""
    if skipped_steps:
        tf.get_logger().warning(
            "%d of %d steps were skipped: with the loss scale of the time, a gradient was not finite.",
            skipped_steps,
            global_step,
        )
    why = {
        "max_number_of_steps": "max_number_of_steps is reached",
        "end of input": "the input has ended",
    }.get(result.stopped_by, f"{result.stopped_by} asked for it")
    tf.get_logger().info("Training stops at global step %d: %s.", global_step, why)


def report_nothing_to_train(step: int, max_number_of_steps: int, place: object, *, resumed: bool) -> None:
    """Warn why a run ends before its first step (box 6-0-1 of the manual)."""
    tf.get_logger().warning(
        "%s already holds global step %d and max_number_of_steps is %d: there is nothing left to train. "
        "Pass a higher max_number_of_steps to go on, or %s.",
        place,
        step,
        max_number_of_steps,
        "another log_dir to start anew" if resumed else "--checkpoint_exclude_patterns=global_step to count from 0",
    )
