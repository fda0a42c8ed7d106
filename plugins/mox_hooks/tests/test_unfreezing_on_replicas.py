"""What is frozen, thaws and has a learning rate of its own, on two devices: as on one with batches twice as large."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys

import mox_core as mox

replicas, folder = int(sys.argv[1]), sys.argv[2]
mox.set_flag("num_gpus", replicas)
mox.set_flag("clone_on_cpu", replicas > 1)
mox.set_flag("trainable_include_patterns", "head")
mox.set_flag("loss_scale", "dynamic")
import keras
import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
FEATURES = np.random.default_rng(0).normal(2, 3, size=(64, 1, 1, 3)).astype(np.float32)

def layer(name, net, size):
    with v1.variable_scope(name):
        return tf.tanh(net @ v1.get_variable("w", initializer=tf.linspace(-1.0, 1.0, size[1]) * tf.ones(size)))

def model_fn(inputs, mode):
    net = keras.layers.BatchNormalization(name="norm")(inputs[0])
    with v1.variable_scope("other"):
        zeros, ones = v1.zeros_initializer(), v1.ones_initializer()
        scale, offset = (v1.get_variable(each, [3], initializer=ones) for each in ("scale", "offset"))
        mean, variance = (
            v1.get_variable(
                name, [3], initializer=value, trainable=False, synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.MEAN,
            )
            for name, value in (("mean", zeros), ("variance", ones))
        )
        net, *new = v1.nn.fused_batch_norm(net, scale, offset, mean=mean, variance=variance, exponential_avg_factor=0.1)
        for each, value in zip((mean, variance), new):
            v1.add_to_collection("update_ops", each.assign(value))
    net = layer("head", layer("block2", layer("block1", net[:, 0, 0], [3, 4]), [4, 4]), [4, 1])
    hooks = [mox.GradualUnfreezingHook({"block2": 2, "block1": 4})]
    return mox.ModelSpec(loss=tf.reduce_mean((net[:, 0] - 1) ** 2), hooks=hooks)

def optimizer_fn():
    optimizer = keras.optimizers.AdamW(0.01)
    return mox.get_optimizer_wrapper_fn("rate_multipliers", optimizer, multipliers={"head": 5.0, "block1/": 0.5})()

result = mox.run(
    input_fn=lambda mode: tf.data.Dataset.from_tensor_slices(FEATURES).repeat(),
    model_fn=model_fn, optimizer_fn=optimizer_fn, run_mode=mox.ModeKeys.TRAIN, batch_size=8 // replicas,
    max_number_of_steps=7, log_dir=folder,
)
reader = tf.train.load_checkpoint(result.checkpoint)
names = [name for name in reader.get_variable_to_shape_map() if name.startswith(("norm", "other", "block", "head"))]
print(json.dumps({name: reader.get_tensor(name).ravel().tolist() for name in names}))
"""


@pytest.mark.slow
def test_two_devices_train_what_one_does_and_leave_the_same_alone(tmp_path):
    found = []
    for replicas in (1, 2):
        command = [sys.executable, "-c", PROGRAM, str(replicas), str(tmp_path / str(replicas))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(done.stdout.splitlines()[-1]))
    one, two = found
    assert one.keys() == two.keys()
    assert all(two[name] == pytest.approx(values, abs=1e-5) for name, values in one.items())
    for values in (one, two):
        assert values["norm/moving_mean"] == values["other/mean"] == [0, 0, 0]
        assert values["norm/moving_variance"] == values["other/variance"] == [1, 1, 1]
