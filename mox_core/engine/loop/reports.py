"""What is said about the end of a run: log lines, and the errors of one that found nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from mox_core.errors import DataError
from mox_core.metric_text import metric_text
from mox_core.modes import ModeKeys
from mox_core.quoting import shown

if TYPE_CHECKING:
    from mox_core.engine.input.pipeline import InputPipeline
    from mox_core.engine.loop.loop import LoopResult


def report_evaluation(result: LoopResult) -> None:
    """Log the means over all steps of a run that does not train, as the original did."""
    means = "\t".join(f"{shown(name)}: {metric_text(value, whole=True)}" for name, value in result.means.items())
    tf.get_logger().info("%s\t[%d examples]", means, result.samples)  # the tab is there without means too
    if result.interrupted:
        words = "the run stops after %d steps: %s asked for it. Means are those of the samples until then."
        tf.get_logger().warning(words, result.steps, result.stopped_by)


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
        shown(place),
        step,
        max_number_of_steps,
        "another log_dir to start anew" if resumed else "--checkpoint_exclude_patterns=global_step to count from 0",
    )


def check_trained(result: LoopResult, pipeline: InputPipeline, start: list[int], num_workers: int) -> None:
    """Refuse the end of a training that had no batch for its first step.

    Args:
        result: how its loop ended.
        pipeline: its input.
        start: the positions at which this worker began to read.
        num_workers: how many workers share the input.

    Raises:
        DataError: with the numbers.
    """
    if result.steps or result.stopped_by != "end of input":
        return
    size = pipeline.batching.batch_size if pipeline.batching.by_mox else None
    kind, needed = (
        ("batches", pipeline.batches_in_step) if size is None else ("samples", size * pipeline.batches_in_step)
    )
    factors = [f"batch_size={size}"] if size else []
    factors += [f"{pipeline.replicas} replicas"] if pipeline.batches_in_step > 1 else []
    found = pipeline.count_samples(start, needed)
    among = f" to this worker, one of {num_workers}" if num_workers > 1 else ""
    if among and found == needed:
        among += ", and fewer to another one"
    raise DataError(
        f"TRAIN did not one step: input_fn gives {found} {kind}{among}, and a step takes "
        f"{needed} ({', '.join(factors) or 'one batch'}); in TRAIN all batches are whole. Give more {kind}, let them "
        "repeat (dataset.repeat(), num_epochs=None), or pass a smaller batch_size."
    )


def check_seen(mode: str, samples: int) -> None:
    """Refuse the end of an evaluation that has seen nothing, and warn of a prediction.

    Raises:
        DataError: if means over no samples are asked for.
    """
    if samples:
        return
    if mode == ModeKeys.PREDICT:
        tf.get_logger().warning("%s found no samples: input_fn gives nothing in this mode.", mode)
        return
    raise DataError(
        f"{mode} found 0 samples: input_fn gives nothing in this mode, and a mean of nothing is no number. Look at the "
        "files or the filter of its data set."
    )
