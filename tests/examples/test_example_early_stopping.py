"""The example on early stopping: where it stops follows from the validations that it wrote."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EXAMPLE = Path(__file__).parents[2] / "examples" / "early_stopping.py"


def _scalars(folder, tag):
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {event.step: float(tf.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)}


def test_both_hooks_stop_the_training_and_the_best_weights_are_there(tmp_path):
    found = runpy.run_path(str(EXAMPLE))["main"](tmp_path)
    stopped, best, lowered = found["stopped"], found["best"], found["lowered"]

    losses = _scalars(tmp_path / "early" / "eval", "loss")
    assert list(losses) == list(range(9, stopped.steps, 10))
    lowest = min(losses, key=losses.get)
    assert stopped.stopped_by == "EarlyStoppingHook"
    assert stopped.steps == lowest + 1 + 3 * 10  # patience 3, an evaluation every 10 steps
    assert best.metrics["loss"] == pytest.approx(losses[lowest], rel=1e-5)
    assert best.global_step == lowest + 1

    last, kept = (tf.train.load_checkpoint(str(each)) for each in (stopped.checkpoint, tmp_path / "early" / "best"))
    np.testing.assert_array_equal(last.get_tensor("dense/kernel"), kept.get_tensor("dense/kernel"))
    assert (found["again"].steps, found["again"].stopped_by) == (0, "EarlyStoppingHook")

    assert lowered.stopped_by == "PlateauLREarlyStoppingHook"
    rates = _scalars(tmp_path / "plateau", "learning_rate")
    assert sorted(set(np.round(list(rates.values()), 6)), reverse=True) == pytest.approx([0.01, 0.001, 0.0001])
