"""The inter mode: evaluation in the middle of training, with the weights of that step, from its input's beginning."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.sources import SampleSource

EVERY = 4


class Validating(mox.AggregativeSessionRunHook):
    """Runs the inter mode after every fourth step, and keeps what it gives."""

    def __init__(self, monitor_info, *, max_steps=100):
        super().__init__()
        self.monitor_info, self.max_steps, self.got = monitor_info, max_steps, []

    def next_step(self, step):
        return step + -(step + 1) % EVERY

    def after_run(self, run_context, run_values):
        del run_values
        self.got.append((run_context.global_step, run_context.run_inter_mode(self.max_steps)))

    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return True


@pytest.fixture
def train(regression):
    """Trains `steps` steps; returns what the hook of TRAIN got, and the modes in which `model_fn` was called."""

    def train(steps, *, model_fn=None, max_steps=100, **options):
        hooks = {}

        def validating_model_fn(inputs, mode):
            spec = regression.model_fn(inputs, mode)
            hooks[mode] = Validating({"loss": spec.loss}, max_steps=max_steps)
            return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, hooks=[hooks[mode]])

        arguments = {
            "input_fn": regression.input_fn,
            "model_fn": model_fn or validating_model_fn,
            "optimizer_fn": regression.sgd,
            "run_mode": mox.ModeKeys.TRAIN,
            "inter_mode": mox.ModeKeys.EVAL,
            "batch_size": 8,
            "max_number_of_steps": steps,
        }
        result = mox.run(**arguments | options)
        return (hooks[mox.ModeKeys.TRAIN].got if hooks else None), list(hooks), result

    return train


def _mean_loss(regression, steps, batch_size, count=40):
    weights = regression.train(steps, batch_size=batch_size, rate=0.1)
    errors = regression.features[:count] @ weights.weights + weights.bias - regression.targets[:count]
    return np.mean(errors**2)


@pytest.mark.parametrize(
    "batch_size", [8, 7], ids=["40 samples in fives of 8", "40 samples in 7s, the last batch of 5"]
)
def test_validation_has_the_weights_of_its_step_and_every_sample_once(train, regression, batch_size):
    got, modes, _ = train(12, batch_size=batch_size)
    assert modes == ["TRAIN", "EVAL"]
    assert [step for step, _ in got] == [3, 7, 11]
    expected = [_mean_loss(regression, step + 1, batch_size) for step, _ in got]
    np.testing.assert_allclose([means["loss"] for _, means in got], expected, rtol=1e-4)
    assert expected[0] > expected[1] > expected[2]


def test_validation_starts_at_the_beginning_of_its_input_each_time(train, regression):
    got, _, _ = train(8, max_steps=2)
    expected = [_mean_loss(regression, steps, 8, count=16) for steps in (4, 8)]
    np.testing.assert_allclose([means["loss"] for _, means in got], expected, rtol=1e-4)


def test_validation_changes_nothing_in_the_training(train, variables, tmp_path):
    """Batch normalization has averages that EVAL must not move, dropout and shuffling have their random numbers."""

    def input_fn(mode):
        sample = SampleSource(
            num_samples=40, fetch=lambda index: {"x": tf.cast(index, tf.float32)}, describe=str, shuffle=mode == "TRAIN"
        ).read()
        return sample["x"] + tf.random.uniform([3])

    def model_fn(inputs, mode):
        training = mode == mox.ModeKeys.TRAIN
        x = keras.layers.BatchNormalization(momentum=0.5)(inputs[0], training=training)
        x = keras.layers.Dropout(0.3)(keras.layers.Dense(4)(x), training=training)
        loss = tf.reduce_mean(x**2)
        return mox.ModelSpec(loss=loss, hooks=[Validating({"loss": loss})] if validates else [])

    found = []
    for validates in (True, False):
        tf.random.set_seed(5)
        _, _, result = train(
            10,
            model_fn=model_fn,
            input_fn=input_fn,
            inter_mode=mox.ModeKeys.EVAL if validates else None,
            log_dir=tmp_path / str(validates),
        )
        found.append(variables(result.checkpoint))
    assert sorted(found[0]) == sorted(found[1])
    assert "batch_normalization/moving_mean" in found[0]
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name], err_msg=name)


def test_averages_of_the_training_are_what_validation_normalizes_with(train, regression):
    """By hand: a moving mean with momentum 0.5 of the batches that were trained on, from 0."""

    def model_fn(inputs, mode):
        made = keras.layers.BatchNormalization(momentum=0.5, epsilon=0.0, scale=False, center=False)
        made(inputs[0], training=mode == mox.ModeKeys.TRAIN)
        loss = tf.compat.v1.get_variable("weight", initializer=1.0) * 1.0
        hooks.append(Validating({"average": tf.reduce_sum(made.moving_mean)}))
        return mox.ModelSpec(loss=loss, hooks=[hooks[-1]])

    hooks = []
    train(8, model_fn=model_fn)
    average, expected = np.zeros(3), []
    for features, _ in regression.batches(8, 8):
        average = 0.5 * average + 0.5 * features.mean(0)
        expected.append(average.sum())
    got = [means["average"] for _, means in hooks[0].got]
    np.testing.assert_allclose(got, [expected[3], expected[7]], rtol=1e-4, atol=1e-6)


def test_a_hook_that_validates_without_inter_mode_is_refused_before_training(train, tmp_path):
    with pytest.raises(mox.UsageError) as refusal:
        train(8, inter_mode=None, log_dir=tmp_path / "log")
    assert str(refusal.value) == (
        "Validating runs the inter mode, and there is none: pass inter_mode=mox.ModeKeys.EVAL to mox.run."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_hook_that_is_missing_in_the_inter_mode_is_refused_before_training(train, regression, tmp_path):
    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        hooks = [Validating({"loss": spec.loss})] * (2 if mode == mox.ModeKeys.TRAIN else 1)
        return mox.ModelSpec(loss=spec.loss, hooks=[*hooks[:-1], Validating({"loss": spec.loss})])

    def lonely_model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        hooks = [Validating({"loss": spec.loss})] if mode == mox.ModeKeys.TRAIN else []
        return mox.ModelSpec(loss=spec.loss, hooks=hooks)

    for each in (model_fn, lonely_model_fn):
        with pytest.raises(mox.UsageError) as refusal:
            train(8, model_fn=each, log_dir=tmp_path / "log")
        assert str(refusal.value) == (
            "model_fn returns Validating in TRAIN and not in EVAL: "
            "return it in both modes, its values come from the second."
        )
        assert list(tmp_path.iterdir()) == []


def test_placeholders_in_the_inter_mode_are_refused_before_training(train, regression):
    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        scale = 1.0 if mode == mox.ModeKeys.TRAIN else tf.compat.v1.placeholder(tf.float32, [], name="scale")
        return mox.ModelSpec(loss=spec.loss, hooks=[Validating({"loss": spec.loss * scale})])

    with pytest.raises(mox.UsageError) as refusal:
        train(8, model_fn=model_fn)
    assert str(refusal.value) == (
        "model_fn makes the placeholders 'scale' in EVAL, and nothing feeds placeholders in the inter mode: "
        "make them in TRAIN only."
    )


def test_inter_mode_without_a_hook_that_runs_it_trains_as_ever(train, regression):
    _, _, result = train(3, model_fn=regression.model_fn)
    assert result.metrics["loss"] == pytest.approx(regression.train(3, batch_size=8, rate=0.1).losses[-1], rel=1e-4)


def test_what_is_monitored_may_be_a_variable_or_a_number(train, regression):
    hooks = []

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        with tf.compat.v1.variable_scope(tf.compat.v1.get_variable_scope(), reuse=True):
            bias = tf.compat.v1.get_variable("bias", shape=[])
        hooks.append(Validating({"bias": bias, "count": tf.size(inputs[1]), "three": 3.0}))
        return mox.ModelSpec(loss=spec.loss, hooks=[hooks[-1]])

    train(4, model_fn=model_fn, batch_size=7)
    ((_, means),) = hooks[0].got
    # 5 batches of 7 and one of 5: the mean of their sizes, weighted by samples, is (5 * 49 + 25) / 40
    assert means == {
        "bias": pytest.approx(regression.train(4, batch_size=7, rate=0.1).bias, rel=1e-4),
        "count": 270 / 40,
        "three": 3.0,
    }


def test_bad_validation_samples_are_counted_at_the_end_once_each(train, regression, said):
    def input_fn(mode):
        bad = 2 if mode == mox.ModeKeys.EVAL else -1

        def fetch(index):
            with tf.control_dependencies([tf.debugging.assert_none_equal(index, tf.constant(bad, tf.int64))]):
                return {"x": tf.gather(regression.features, index), "y": tf.gather(regression.targets, index)}

        sample = SampleSource(
            num_samples=40, fetch=fetch, describe=lambda index: f"sample {index}", num_epochs=None if bad < 0 else 1
        ).read()
        return sample["x"], sample["y"]

    got, _, _ = train(8, input_fn=input_fn)
    assert [line for line in said.lines if line.startswith("WARNING")] == [
        "WARNING:tensorflow:'sample 2' cannot be read (cut off, empty, or of no known format): it is left out.",
        "WARNING:tensorflow:1 bad samples were left out of this run.",
    ]
    kept = np.delete(np.arange(40), 2)
    weights = regression.train(4, batch_size=8, rate=0.1)
    errors = regression.features[kept] @ weights.weights + weights.bias - regression.targets[kept]
    np.testing.assert_allclose(got[0][1]["loss"], np.mean(errors**2), rtol=1e-4)
