"""What the tests of the stopping hooks share: a training whose validation gives the values of a list, in order."""

import logging

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox


@pytest.fixture
def said():
    """The lines that TensorFlow's logger hands out, in the form in which the manual prints them."""

    class Lines(logging.Handler):
        def __init__(self):
            super().__init__()
            self.lines = []

        def emit(self, record):
            self.lines.append(f"{record.levelname}:{record.name}:{record.getMessage()}")

        def starting(self, text):
            return [line for line in self.lines if line.startswith(f"INFO:tensorflow:{text}")]

        def clear(self):
            self.lines.clear()

    handler = Lines()
    tf.get_logger().addHandler(handler)
    yield handler
    tf.get_logger().removeHandler(handler)


class Steps(mox.AggregativeSessionRunHook):
    """Keeps the learning rate of each step."""

    def __init__(self, rates):
        super().__init__()
        self.rates = rates

    def after_run(self, run_context, run_values):
        del run_values
        self.rates.append(float(run_context.learning_rate))

    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return False


@pytest.fixture
def train_on():
    """Trains with validation every second step (epochs of 4 samples, batches of 2), which gives values of a list.

    The weight falls by the learning rate in each step; the variable `count` counts the steps.
    """

    def train_on(values, make_hook, *, optimizer_fn=None, rates=None, steps=100, then=None, **options):
        def model_fn(inputs, mode):
            weight = tf.compat.v1.get_variable("weight", initializer=0.0)
            count = tf.compat.v1.get_variable("count", initializer=0, trainable=False, use_resource=True)
            if mode == mox.ModeKeys.TRAIN:
                count.assign_add(1)
            table = tf.constant(np.asarray(values, np.float32))
            value = tf.gather(table, tf.minimum(count // 2, len(values)) - 1)
            hooks = [make_hook(value)] if make_hook else []
            hooks += [Steps(rates)] if rates is not None and mode == mox.ModeKeys.TRAIN else []
            hooks += then(mode) if then else []
            loss = weight + 0.0 * tf.reduce_sum(inputs[0])
            return mox.ModelSpec(loss=loss, log_info={"weight": 1.0 * weight, "count": count}, hooks=hooks)

        arguments = {
            "input_fn": lambda mode: tf.data.Dataset.from_tensors(0.0).repeat(None if mode == "TRAIN" else 2),
            "model_fn": model_fn,
            "optimizer_fn": optimizer_fn or (lambda: tf.compat.v1.train.GradientDescentOptimizer(1.0)),
            "run_mode": mox.ModeKeys.TRAIN,
            "inter_mode": mox.ModeKeys.EVAL,
            "batch_size": 2,
            "max_number_of_steps": steps,
            "log_every_n_steps": 1000,
        }
        return mox.run(**arguments | options)

    return train_on
