"""Placeholders in model_fn: values that come from Python in each step, rather than from input_fn.

    python examples/placeholders.py [folder]

Points of three clusters are told apart. Points and labels come through placeholders, as in TensorFlow 1: a hook feeds
them, new ones in each step. `FeedSessionRunHook` takes values, or functions that it calls for each step, here for the
share of values that are dropped; a subclass can change its feed_dict between steps, here for points and labels, which
belong together. Validation while training has placeholders too, and a hook of its own that feeds them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow.compat.v1 as tf

import mox_core as mox

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 30
STEPS = 120
CENTERS = np.array([[0, 2], [2, -1], [-2, -1]])


def points(number: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return points around the three centers, and which center it was."""
    labels = random.integers(3, size=number)
    return CENTERS[labels] + random.normal(scale=0.7, size=(number, 2)), labels


class FeedPoints(mox.FeedSessionRunHook):
    """Feeds new points with their labels in each step."""

    def __init__(self, xy, labels):
        super().__init__(feed_dict={})
        self.placeholders, self.random = (xy, labels), np.random.default_rng(1)

    def before_run(self, run_context):
        self.feed_dict = dict(zip(self.placeholders, points(BATCH, self.random), strict=True))
        return super().before_run(run_context)


def input_fn(mode):
    """Nothing is read: all comes through placeholders. An evaluation is one step."""
    nothing = tf.data.Dataset.from_tensors(0.0)
    return nothing.repeat() if mode == mox.ModeKeys.TRAIN else nothing


def make_model_fn(drop_rates: Iterator[float]):
    held_out = points(300, np.random.default_rng(2))

    def model_fn(inputs, mode):
        del inputs  # a number that means nothing
        xy = tf.placeholder(tf.float32, [None, 2], name="points")
        labels = tf.placeholder(tf.int64, [None], name="labels")
        if mode == mox.ModeKeys.TRAIN:
            drop_rate = tf.placeholder(tf.float32, [], name="drop_rate")
            hooks = [FeedPoints(xy, labels), mox.FeedSessionRunHook({drop_rate: lambda: next(drop_rates)})]
        else:
            drop_rate = 0.0
            hooks = [mox.FeedSessionRunHook({xy: held_out[0], labels: held_out[1]})]
        hidden = tf.nn.tanh(xy @ tf.get_variable("w1", [2, 16]) + tf.get_variable("b1", [16]))
        logits = tf.nn.dropout(hidden, rate=drop_rate) @ tf.get_variable("w2", [16, 3])
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), labels), tf.float32))
        info = {"loss": loss, "accuracy": accuracy}
        validation = mox.LogEvaluationMetricHook(info, BATCH, samples_in_train=40 * BATCH, samples_in_eval=BATCH)
        return mox.ModelSpec(loss=loss, log_info=info, hooks=[*hooks, validation])

    return model_fn


def model_fn_without_hook(inputs, mode):
    """A placeholder that is forgotten is named before the training begins."""
    del inputs, mode
    scale = tf.placeholder(tf.float32, [], name="scale")
    return mox.ModelSpec(loss=tf.get_variable("weight", initializer=1.0) * scale)


def main(folder: Path) -> dict[str, object]:
    """Train, and show what happens to a placeholder that nobody feeds; return what came out."""
    tf.set_random_seed(1)
    drop_rates = iter(np.linspace(0.5, 0, STEPS))
    job = {
        "input_fn": input_fn,
        "optimizer_fn": mox.get_optimizer_fn("momentum", learning_rate=0.05, momentum=0.9),
        "run_mode": mox.ModeKeys.TRAIN,
        "auto_batch": False,
        "batch_size": BATCH,
        "max_number_of_steps": STEPS,
        "log_every_n_steps": 20,
    }
    trained = mox.run(model_fn=make_model_fn(drop_rates), inter_mode=mox.ModeKeys.EVAL, log_dir=folder / "log", **job)
    left = len(list(drop_rates))
    print(f"\n{STEPS - left} drop rates were fed in {trained.steps} steps, {left} are left")
    evaluated = mox.run(
        **job | {"model_fn": make_model_fn(iter(())), "run_mode": mox.ModeKeys.EVAL, "optimizer_fn": None},
        log_dir=folder / "log",
    )
    print(f"Accuracy on points that it was not trained on: {evaluated.metrics['accuracy']:.1%}")
    try:
        mox.run(model_fn=model_fn_without_hook, log_dir=folder / "refused", **job)
    except mox.UsageError as error:
        refusal = str(error)
        print(f"Without a hook: {refusal}")
    return {"trained": trained, "drop_rates_left": left, "evaluated": evaluated, "refusal": refusal}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/placeholders"))
