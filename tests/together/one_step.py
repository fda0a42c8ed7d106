"""Trains networks for one step of `mox.run`: `python one_step.py NAME...`, with nothing but mox and networks installed.

The loss is to be a number, and all variables after the step; most weights have moved, and those of the logits (by
`default_logits_pattern`) all; the parameters are as many as the network's metadata says.
"""

import fnmatch
import math
import sys
import tempfile

import numpy as np
import tensorflow as tf

import mox_core as mox

BATCH = 2
CLASSES = 10

SMALLEST = {
    "applications/inception_*": 75,
    "xception": 71,
    "inception_v[34]": 107,
    "inception_resnet_v2": 107,
    "nasnet_cifar": 32,
    "*nasnet_*": 67,
    # Their first dense layers have weights for each pixel, or one window of the size that there are.
    "lenet": None,
    "alexnet_v2": None,
    "overfeat": None,
    "*vgg_*": None,
    "*": 32,
}
"""Height and width of the smallest images, by the first pattern of a name; None: those that the network is made for."""


def image_size(name):
    size = next(size for pattern, size in SMALLEST.items() if fnmatch.fnmatch(name, pattern))
    return size or mox.get_model_meta(name).default_image_size


def train(name, log_dir):
    """Train a network for a step; return the loss, and the names of the weights."""
    weights = []
    size = image_size(name)
    images = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3)).astype(np.float32)

    def model_fn(inputs, mode):
        logits, end_points = mox.get_model_fn(name, run_mode=mode, num_classes=CLASSES)(inputs[0])
        loss = entropy(logits, inputs[1])
        if "AuxLogits" in end_points:
            loss += 0.4 * entropy(end_points["AuxLogits"], inputs[1])
        weights.extend(variable.name.partition(":")[0] for variable in tf.compat.v1.trainable_variables())
        return mox.ModelSpec(loss=loss, log_info={"loss": loss})

    result = mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensors((images, [0, 1])).repeat(),  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(1e-4),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=None,
        max_number_of_steps=1,
        log_dir=log_dir,
    )
    return result.metrics["loss"], weights


def entropy(logits, labels):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


def check_step(name, log_dir):
    """Train a network for a step; compare the checkpoints before and after it. Return a line on what there was."""
    meta = mox.get_model_meta(name)
    loss, weights = train(name, log_dir)
    before, after = (tf.train.load_checkpoint(f"{log_dir}/model.ckpt-{step}") for step in (0, 1))
    shapes = after.get_variable_to_shape_map()
    broken = [each for each in shapes if not is_finite(after.get_tensor(each))]
    moved = [each for each in weights if not np.array_equal(before.get_tensor(each), after.get_tensor(each))]
    of_logits = [each for each in weights if meta.default_logits_pattern in each]
    count = sum(parameters(each, shape, each in of_logits) for each, shape in shapes.items())

    assert 0 < loss < 1e4, f"{name}: the loss is {loss}"
    assert not broken, f"{name}: {broken} are not finite"
    assert len(moved) > len(weights) / 2, f"{name}: of {len(weights)} weights only {len(moved)} have moved"
    assert of_logits, f"{name}: no weight has {meta.default_logits_pattern!r} in its name"
    assert set(of_logits) <= set(moved), f"{name}: of {of_logits} only {moved} have moved"
    assert count == meta.parameters, f"{name}: {count:,} parameters, not {meta.parameters:,}"
    return f"{name}: loss {loss:.3g}, {len(moved)} of {len(weights)} weights moved"


def parameters(name, shape, of_logits):
    """The number of values of a variable that a network of 1000 classes has in its place."""
    if name.startswith(("mox/", "global_step")) or "seed_generator" in name or "aux" in name.lower():
        return 0
    return math.prod(shape) * (1000 // CLASSES if of_logits else 1)


def is_finite(value):
    return not np.issubdtype(value.dtype, np.floating) or bool(np.isfinite(value).all())


if __name__ == "__main__":
    for each in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            print(check_step(each, folder), flush=True)
