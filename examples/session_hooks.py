"""Hooks of your own: code that runs at the beginning, around steps and at the end of a training.

    python examples/session_hooks.py [folder]

A line is fitted to generated points, with three hooks: one keeps a diary in a file, one computes tensors of the model
on values of its own, one stops the training when the loss is small. Then a training is made to fail, and the diary is
closed all the same: `end` is called in whichever way a run ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow.compat.v1 as tf

import mox_core as mox

BATCH = 20


class Diary(mox.AggregativeSessionRunHook):
    """Writes a line into a file every 25 steps. It fetches tensors, in whatever structure is convenient."""

    def __init__(self, path, loss, line):
        super().__init__()
        self.path, self.fetches = path, {"loss": loss, "line": [line["slope"], line["offset"]]}

    def next_step(self, step):
        return -(-step // 25) * 25  # 0, 25, 50, ...: between them, steps run together in one call

    def begin(self):
        self.file = self.path.open("w")

    def after_create_session(self, session, coord):
        del coord
        slope, _ = session.run(self.fetches["line"])
        self.file.write(f"begins with the slope {slope:.2f}\n")

    def before_run(self, run_context):
        del run_context
        return tf.train.SessionRunArgs(self.fetches)

    def after_run(self, run_context, run_values):
        got = run_values.results  # in the structure of the fetches
        slope, offset = got["line"]
        self.file.write(f"step {run_context.global_step}: loss {got['loss']:.4f}, y = {slope:.2f} x + {offset:.2f}\n")

    def end(self, session):
        self.file.write("ends as planned\n" if session.complete else "is cut short\n")
        self.file.close()

    def support_aggregation(self):
        return True  # one diary, however many replicas of the model there are

    def support_sync_workers(self):
        return False  # each process of a job writes when it gets there

    def run_inter_mode(self):
        return False  # it has nothing to do with validation


class Probe(mox.AggregativeSessionRunHook):
    """Asks the model, every 50 steps, what it gives at x = 10."""

    def __init__(self, x, prediction):
        super().__init__()
        self.x, self.prediction, self.answers = x, prediction, {}

    def next_step(self, step):
        return -(-step // 50) * 50

    def after_run(self, run_context, run_values):
        del run_values
        answer = run_context.session.run(self.prediction, feed_dict={self.x: [10.0]})
        self.answers[run_context.global_step] = float(answer[0])

    def support_aggregation(self):
        return True

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return False


class StopWhenGood(mox.AggregativeSessionRunHook):
    """Ends the training. It looks at every step, which is slower than looking at some."""

    def __init__(self, loss, enough):
        super().__init__()
        self.loss, self.enough = loss, enough

    def before_run(self, run_context):
        del run_context
        return tf.train.SessionRunArgs(self.loss)

    def after_run(self, run_context, run_values):
        if run_values.results < self.enough:
            run_context.request_stop()

    def support_aggregation(self):
        return True  # the mean of the losses of all devices decides

    def support_sync_workers(self):
        return True  # all workers stop at the same step

    def run_inter_mode(self):
        return False


def input_fn(mode):
    """Points near y = 3 x - 1, made while they are read."""
    del mode
    x = tf.random.uniform([], -1.0, 1.0)
    return x, 3 * x - 1 + tf.random.normal([], stddev=0.01)


def train(diary: Path, *, enough: float, rate: float) -> tuple[mox.RunResult, Probe]:
    made = {}

    def model_fn(inputs, mode):
        del mode
        y = inputs[1]
        x = tf.placeholder_with_default(inputs[0], [None])  # the input, or what a hook feeds: any number of values
        slope, offset = tf.get_variable("slope", initializer=0.0), tf.get_variable("offset", initializer=0.0)
        prediction = slope * x + offset
        loss = tf.reduce_mean((prediction - y) ** 2)
        made["probe"] = Probe(x, prediction)
        hooks = [Diary(diary, loss, {"slope": slope, "offset": offset}), made["probe"], StopWhenGood(loss, enough)]
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, hooks=hooks)

    result = mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=rate),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=BATCH,
        max_number_of_steps=1000,
        log_every_n_steps=50,
    )
    return result, made["probe"]


def main(folder: Path) -> dict[str, object]:
    """Train, fail, and show the diaries; return what happened."""
    folder.mkdir(parents=True, exist_ok=True)
    tf.set_random_seed(1)
    result, probe = train(folder / "diary.txt", enough=0.001, rate=0.1)
    print(f"\nStopped by {result.stopped_by} after {result.steps} steps. At x = 10, where y is 29, the model gave:")
    print(", ".join(f"{answer:.1f} at step {step}" for step, answer in probe.answers.items()))
    print((folder / "diary.txt").read_text())

    try:
        train(folder / "failed.txt", enough=0.0, rate=1e6)
    except mox.NanLossError as error:
        failure = str(error)
        print(f"A rate that is far too high: {failure}\n{(folder / 'failed.txt').read_text()}")
    return {"result": result, "answers": probe.answers, "failure": failure}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/session_hooks"))
