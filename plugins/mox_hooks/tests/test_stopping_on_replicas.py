"""Stopping hooks on two devices: parts of the CPU, in a process of its own, as devices are chosen once in a process."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
from pathlib import Path

import mox_core as mox

folder, values, two_hooks = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
mox.set_flag("num_gpus", 2)
mox.set_flag("clone_on_cpu", True)
import tensorflow as tf

class Last(mox.AggregativeSessionRunHook):
    def end(self, session):
        self.weight = float(session.run(session.graph.get_collection("trainable_variables")[0]))

    def support_aggregation(self):
        return True

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return False

last = Last()

def model_fn(inputs, mode):
    weight = tf.compat.v1.get_variable("weight", initializer=0.0)  # falls by 1 in each step
    evaluation = tf.clip_by_value(tf.cast(-weight, tf.int32) // 2, 1, len(values)) - 1
    hooks = [
        mox.EarlyStoppingHook(
            {"accuracy": tf.gather(tf.constant(values), evaluation)}, "accuracy", batch_size=2, samples_in_train=8,
            samples_in_eval=8, patience=2, restore_best_weights=True,
        )
        for _ in range(1 + two_hooks)
    ]
    hooks += [last] if mode == mox.ModeKeys.TRAIN else []
    return mox.ModelSpec(loss=weight + 0.0 * tf.reduce_sum(inputs[0]), log_info={"weight": 1.0 * weight}, hooks=hooks)

try:
    result = mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensors(0.0).repeat(None if mode == "TRAIN" else 8),
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(1.0),
        run_mode=mox.ModeKeys.TRAIN, inter_mode=mox.ModeKeys.EVAL, batch_size=2, max_number_of_steps=100,
        log_dir=folder / "log",
    )
    told = {"stopped_by": result.stopped_by, "steps": result.steps, "weight": last.weight}
except mox.UsageError as error:
    told = {"refused": str(error)}
(folder / "told.json").write_text(json.dumps(told))
"""


@pytest.fixture
def on_two_devices(tmp_path):
    """Trains with validation every second step, which gives values of a list; returns how it ended."""

    def train(values, *, two_hooks=False):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps(values), json.dumps(two_hooks)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads((tmp_path / "told.json").read_text())

    return train


@pytest.mark.slow
def test_the_best_weights_come_back_on_two_devices(on_two_devices):
    """The best evaluation is the second, after 4 steps; the two after it are no better."""
    told = on_two_devices([0.5, 0.9, 0.8, 0.7, 0.6])
    assert told == {"stopped_by": "EarlyStoppingHook", "steps": 8, "weight": -4.0}


@pytest.mark.slow
def test_two_hooks_that_restore_are_refused_on_two_devices(on_two_devices):
    told = on_two_devices([0.5], two_hooks=True)
    assert told["refused"].startswith("two hooks of model_fn have restore_best_weights=True")
