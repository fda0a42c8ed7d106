"""Trains networks for one step of `mox.run`: `python one_step.py NAME...`, with nothing but mox and networks installed.

It prints a line of JSON for each: the loss, the numbers of weights, of those that the step has moved, of those of the
logits (by `default_logits_pattern`) and the moved among them, and the variables that are no longer finite.
"""

import fnmatch
import json
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
    "lenet": 28,
    "alexnet_v2": None,
    "overfeat": None,
    "vgg_*": None,
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


def seen_of(name):
    """Train a network in a folder of its own; return what the step has done, by the checkpoints before and after."""
    with tempfile.TemporaryDirectory() as log_dir:
        loss, weights = train(name, log_dir)
        before, after = (tf.train.load_checkpoint(f"{log_dir}/model.ckpt-{step}") for step in (0, 1))
        moved = [each for each in weights if not np.array_equal(before.get_tensor(each), after.get_tensor(each))]
        broken = [each for each in after.get_variable_to_shape_map() if not is_finite(after.get_tensor(each))]
    pattern = mox.get_model_meta(name).default_logits_pattern
    of_logits = [[each for each in names if pattern in each] for names in (weights, moved)]
    counts = {"weights": len(weights), "moved": len(moved), "of_logits": [len(each) for each in of_logits]}
    return {"name": name, "loss": float(loss), **counts, "not_finite": broken}


def is_finite(value):
    return not np.issubdtype(value.dtype, np.floating) or bool(np.isfinite(value).all())


if __name__ == "__main__":
    for each in sys.argv[1:]:
        print(json.dumps(seen_of(each)), flush=True)
