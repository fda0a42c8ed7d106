"""Weights that are not finite, of which the loss shows nothing."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

v1 = tf.compat.v1


def input_fn(mode):
    del mode
    return tf.data.Dataset.from_tensor_slices(np.float32([1, 1, 1, np.nan, 1, 1])).repeat()


def swallowed(inputs, mode):
    """The gradient of w is 0 times NaN from the fourth step on; the loss is that of v."""
    del mode
    w, v = v1.get_variable("w", initializer=[1.0, 2.0]), v1.get_variable("v", initializer=3.0)
    product = tf.reduce_sum(w) * inputs[0]
    unseen = tf.where(tf.math.is_nan(product), 0.0, product)
    return mox.ModelSpec(loss=v * v + tf.reduce_mean(unseen) * 0.0)


def average(inputs, mode):
    """A moving average sees the sample; the loss does not."""
    del mode
    w = v1.get_variable("w", initializer=1.0)
    mean = v1.get_variable("mean", initializer=0.0, trainable=False)
    mean.assign(0.9 * mean + 0.1 * inputs[0][0])
    return mox.ModelSpec(loss=w * w)


def train(model_fn, folder, *, steps=10, **options):
    return mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: keras.optimizers.SGD(0.1, momentum=0.5),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        max_number_of_steps=steps,
        log_dir=folder,
        **options,
    )


@pytest.mark.parametrize(
    ("model_fn", "what"),
    [
        (swallowed, "'w' holds NaN at global step 4, in 2 of 2"),
        (average, "'mean' holds NaN at global step 4, in 1 of 1"),
    ],
)
def test_they_are_seen_when_they_would_be_saved_and_no_checkpoint_holds_them(model_fn, what, tmp_path):
    with pytest.raises(mox.NanLossError, match=rf"^variable {what} numbers: training stops, and its weights are not "):
        train(model_fn, tmp_path, save_model_steps=2, export_model=None)
    assert sorted(path.name for path in tmp_path.glob("*.index")) == ["model.ckpt-0.index", "model.ckpt-2.index"]
    with pytest.raises(mox.NanLossError, match="at global step 10"):
        train(model_fn, None)


def test_they_are_neither_kept_as_the_best_nor_exported(tmp_path):
    class KeepAtTheEnd(mox.AggregativeSessionRunHook):
        support_aggregation = support_sync_workers = run_inter_mode = lambda self: False  # noqa: ARG005

        def end(self, session):
            session.save_best()

    def with_hook(inputs, mode):
        spec = swallowed(inputs, mode)
        return mox.ModelSpec(loss=spec.loss, hooks=[KeepAtTheEnd()] if mode == mox.ModeKeys.TRAIN else ())

    with pytest.raises(mox.NanLossError, match="'w' holds NaN at global step 10"):
        train(with_hook, tmp_path / "best")
    assert not list((tmp_path / "best" / "best").glob("*.index"))

    def exported(inputs, mode):
        spec = swallowed(inputs, mode)
        return mox.ModelSpec(loss=spec.loss, export_spec=mox.ExportSpec({"x": inputs[0]}, {"y": inputs[0]}))

    with pytest.raises(mox.NanLossError, match="'w' holds NaN at global step 10"):
        train(exported, tmp_path / "exported", export_model=mox.ExportKeys.TF_SERVING)
    assert not [path for path in (tmp_path / "exported").iterdir() if path.is_dir()]


def test_what_may_be_infinite_is_saved(tmp_path, variables):
    class Optimizer(v1.train.GradientDescentOptimizer):
        def apply_gradients(self, grads_and_vars, global_step=None, name=None):
            pairs = list(grads_and_vars)
            v1.get_variable("lowest_gradient", initializer=np.inf, trainable=False).assign(-np.inf)
            return super().apply_gradients(pairs, global_step, name)

    def model_fn(inputs, mode):
        del inputs, mode
        w = v1.get_variable("w", initializer=1.0)
        mask = v1.get_variable("mask", initializer=[0.0, -np.inf], trainable=False)
        return mox.ModelSpec(loss=w * w + tf.reduce_sum(tf.exp(mask)))

    result = mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: Optimizer(0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        max_number_of_steps=2,
        log_dir=tmp_path,
    )
    found = variables(result.checkpoint)
    assert (found["lowest_gradient"], found["mask"].tolist()) == (-np.inf, [0, -np.inf])


JOB = """
    def numbers(mode):
        return tf.data.Dataset.from_tensor_slices(np.float32([1.0] * 24 + [np.nan] * 200)).repeat()

    class KeepingBest(mox.AggregativeSessionRunHook):
        support_aggregation = support_sync_workers = run_inter_mode = lambda self: False

        def end(self, session):
            session.save_best()

    def swallowed(inputs, mode, hooks=()):
        w = tf.compat.v1.get_variable("w", initializer=[1.0, 2.0])
        v = tf.compat.v1.get_variable("v", initializer=3.0)
        product = tf.reduce_sum(w) * inputs[0]
        loss = v * v + tf.reduce_mean(tf.where(tf.math.is_nan(product), 0.0, product)) * 0.0
        export_spec = mox.ExportSpec({"x": inputs[0]}, {"y": inputs[0] * w[0]})
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, export_spec=export_spec, hooks=hooks)

    def fails(name, **options):
        arguments = {"model_fn": swallowed, "input_fn": numbers, "batch_size": 2, "steps": 40, **options}
        try:
            train(name, **arguments)
        except mox.NanLossError as error:
            return str(error)

    words = [
        fails("while", save_model_steps=3),
        fails("end", export_model=mox.ExportKeys.TF_SERVING),
        fails("best", model_fn=lambda inputs, mode: swallowed(inputs, mode, [KeepingBest()])),
    ]
    saved = {
        str(path.relative_to(log_dir("."))): np.isfinite(tf.train.load_checkpoint(path.with_suffix("")).get_tensor("w"))
        for name in ("while", "end", "best")
        for path in log_dir(name).glob("**/*.index")
    }
    train("good", steps=3)  # all of them are together still
    tell(words=words, saved={name: bool(finite.all()) for name, finite in saved.items()})
"""


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "ps"), [(2, 0), (2, 1)], ids=["two devices of two workers", "parameter servers"])
def test_every_worker_ends_with_the_same_words_and_nothing_is_saved(workers, ps, run_job):
    result = run_job(JOB, workers=workers, ps=ps, replicas=1 if ps else 2, sync=0 if ps else 1)
    assert set(result["codes"].values()) == {0}, result["logs"]
    chief = result["told"]["worker-0"]
    assert all(
        re.match(r"variable 'w' holds NaN at global step \d+, in 2 of 2 numbers: ", each) for each in chief["words"]
    )
    assert set(chief["saved"].values()) == {True}
    assert {name.partition("/")[0] for name in chief["saved"] if "ckpt-0" not in name} <= {"while"}
    if ps:
        assert all("the chief has gone" in result["logs"][name] for name in ("ps-0", "worker-1"))
    else:
        assert result["told"]["worker-1"] == {"words": chief["words"], "saved": {}}
