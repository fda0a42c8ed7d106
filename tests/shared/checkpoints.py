"""Checkpoints in tests: what they hold, as any other program would read them, and those that a TF1 script writes."""

from pathlib import Path

import numpy as np
import tensorflow as tf

WEIGHTS = np.array([0.5, 0.25, -1.0], np.float32)
BIAS = np.float32(0.125)
"""Values for the variables of the linear regression of `tests/engine`."""


def values_of(prefix):
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def steps_in(log_dir):
    return sorted(int(path.stem.partition("-")[2]) for path in Path(log_dir).glob("model.ckpt-*.index"))


def write_v1(prefix, values):
    """Write a checkpoint as a TF1 script does; return its prefix."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        made = [tf.compat.v1.get_variable(name, initializer=value) for name, value in values.items()]
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(made)
        Path(prefix).parent.mkdir(parents=True, exist_ok=True)
        return saver.save(session, str(prefix))
