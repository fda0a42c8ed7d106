"""What flags do to gradients: which variables are trained, clipping, loss scaling. Numbers are worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import embedding_cases
import mox_core as mox


@pytest.fixture(autouse=True)
def flags():
    """Sets flags for one test."""
    before = {name: mox.get_flag(name) for name in ("loss_scale", "gradient_clip", "gradient_clip_type")}
    before |= {f"trainable_{kind}_patterns": "" for kind in ("include", "exclude")}

    def set_all(**values):
        for name, value in values.items():
            mox.set_flag(name, value)

    yield set_all
    set_all(**before)


def factors(values):
    """An input of one number a step."""

    def input_fn(mode):
        del mode
        return tf.data.Dataset.from_tensor_slices(np.float32(values)).repeat()

    return input_fn


def two_weights(inputs, mode):
    """loss = x * (3 a + 4 b): its gradient is x * (3, 4), of norm 5 x."""
    del mode
    a = tf.compat.v1.get_variable("first/a", [], initializer=tf.compat.v1.zeros_initializer())
    b = tf.compat.v1.get_variable("second/b", [], initializer=tf.compat.v1.zeros_initializer())
    return mox.ModelSpec(loss=tf.reduce_sum(inputs[0]) * (3 * a + 4 * b))


def train(model_fn, log_dir, *, values=(1.0,), steps=1, optimizer_fn=None, log_every_n_steps=1000):
    return mox.run(
        input_fn=factors(values),
        model_fn=model_fn,
        optimizer_fn=optimizer_fn or (lambda: tf.compat.v1.train.GradientDescentOptimizer(1.0)),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        max_number_of_steps=steps,
        log_every_n_steps=log_every_n_steps,
        log_dir=log_dir,
    )


def test_gradients_of_a_loss_are_clipped_by_their_norm_together(flags, tmp_path, variables):
    flags(gradient_clip_type="norm", gradient_clip=1)
    result = train(two_weights, tmp_path)
    weights = variables(result.checkpoint)
    assert weights["first/a"] == pytest.approx(-3 / 5)
    assert weights["second/b"] == pytest.approx(-4 / 5)


def test_gradients_below_the_norm_stay(flags, tmp_path, variables):
    flags(gradient_clip_type="norm", gradient_clip=5.5)
    result = train(two_weights, tmp_path)
    assert variables(result.checkpoint)["first/a"] == pytest.approx(-3)


def test_each_element_is_clipped_by_its_value(flags, tmp_path, variables):
    flags(gradient_clip_type="value", gradient_clip=3.5)
    result = train(two_weights, tmp_path)
    weights = variables(result.checkpoint)
    assert (weights["first/a"], weights["second/b"]) == (pytest.approx(-3), pytest.approx(-3.5))


def test_rows_of_an_embedding_are_clipped_and_scaled_too(flags, tmp_path, variables):
    flags(gradient_clip_type="value", gradient_clip=0.5, loss_scale=8)

    def model_fn(inputs, mode):
        del mode
        table = tf.compat.v1.get_variable("table", [4, 1], initializer=tf.compat.v1.zeros_initializer())
        rows = tf.nn.embedding_lookup(table, tf.cast(inputs[0], tf.int64))
        return mox.ModelSpec(loss=tf.reduce_sum(3 * rows))

    result = train(model_fn, tmp_path, values=[2.0])
    assert variables(result.checkpoint)["table"].ravel().tolist() == [0, 0, -0.5, 0]


@pytest.mark.parametrize("given", [{"gradient_clip": 1}, {"gradient_clip_type": "norm"}])
def test_a_type_of_clipping_and_its_number_go_together(flags, given):
    flags(**given)
    with pytest.raises(mox.UsageError, match=r"go together: give a type, 'norm' or 'value', and a number above 0"):
        train(two_weights, None)


@pytest.mark.parametrize(
    "patterns", [{"trainable_include_patterns": "^second, ^third|/b$"}, {"trainable_exclude_patterns": "first/"}]
)
def test_only_the_variables_that_the_patterns_leave_are_trained(flags, tmp_path, variables, patterns):
    flags(**patterns)
    result = train(two_weights, tmp_path)
    weights = variables(result.checkpoint)
    assert (weights["first/a"], weights["second/b"]) == (0, -4)


@pytest.mark.parametrize("case", [each for each in embedding_cases.CASES if "TF1" not in each or "all at" in each])
def test_gradients_of_an_embedding_are_clipped_as_dense_ones(case, tmp_path):
    assert embedding_cases.difference(case, tmp_path) < 1e-6


@pytest.mark.slow
def test_gradients_of_an_embedding_are_clipped_as_dense_ones_on_two_devices(run_python):
    done = run_python(Path(embedding_cases.__file__).read_text(), timeout=300)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == pytest.approx(dict.fromkeys(embedding_cases.CASES, 0), abs=1e-6)


def test_patterns_that_leave_nothing_are_refused_with_the_names_there_are(flags):
    flags(trainable_include_patterns="second", trainable_exclude_patterns="/b$")
    with pytest.raises(mox.UsageError) as raised:
        train(two_weights, None)
    assert str(raised.value) == (
        "loss: --trainable_include_patterns=second and --trainable_exclude_patterns=/b$ leave no variable to train. "
        "Variables are called first/a, second/b."
    )
    flags(trainable_include_patterns="secnod", trainable_exclude_patterns="")
    with pytest.raises(
        mox.UsageError, match=r"^--trainable_include_patterns holds 'secnod', .* Did you mean 'second'\?$"
    ):
        train(two_weights, None)


@pytest.mark.parametrize("scale", [1024, "dynamic"])
def test_a_scaled_loss_trains_as_the_loss_itself(flags, tmp_path, variables, regression, scale):
    flags(loss_scale=scale)
    result = mox.run(
        input_fn=regression.input_fn,
        model_fn=regression.model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.MomentumOptimizer(0.1, 0.9),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=8,
        max_number_of_steps=20,
        log_dir=tmp_path,
    )
    expected = regression.train(20, batch_size=8, rate=0.1, momentum=0.9)
    weights = variables(result.checkpoint)
    np.testing.assert_allclose(weights["weights"], expected.weights, atol=1e-5)
    np.testing.assert_allclose(weights["weights/Momentum"][:3], expected.slots[:3], atol=1e-5)
    assert result.metrics["loss"] == pytest.approx(expected.losses[-1], rel=1e-4)
    assert weights["mox/skipped_steps"] == 0


def half_precision(inputs, mode):
    """loss = x * w, computed in float16: the gradient of w is x, times the scale, in float16, where 65504 is most."""
    del mode
    w = tf.compat.v1.get_variable("w", [], initializer=tf.compat.v1.zeros_initializer())
    return mox.ModelSpec(
        loss=tf.reduce_sum(tf.cast(tf.cast(w, tf.float16) * tf.cast(inputs[0], tf.float16), tf.float32))
    )


def momentum():
    return tf.compat.v1.train.MomentumOptimizer(1.0, 0.5)


def test_a_step_whose_gradients_overflow_moves_nothing_and_is_counted(flags, tmp_path, variables, said):
    flags(loss_scale=32768)  # times 1 fits into float16, times 3 does not
    result = train(half_precision, tmp_path, values=[1, 3, 1], steps=3, optimizer_fn=momentum)
    weights = variables(result.checkpoint)
    assert weights["mox/skipped_steps"] == result.skipped_steps == 1
    assert weights["global_step"] == 3
    assert "WARNING:tensorflow:1 of 3 steps were skipped" in "\n".join(said.lines)
    assert weights["w/Momentum"] == 1 * 0.5 + 1  # of the first step and the third
    assert weights["w"] == -(1 + 1.5)


def test_a_dynamic_scale_is_halved_until_the_gradients_fit(flags, tmp_path, variables):
    flags(loss_scale="dynamic")  # 5 * 32768 and 5 * 16384 overflow, 5 * 8192 does not
    result = train(half_precision, tmp_path, values=[5], steps=4, optimizer_fn=momentum)
    weights = variables(result.checkpoint)
    assert weights["mox/loss_scale"] == 8192
    assert weights["mox/skipped_steps"] == 2
    assert weights["mox/good_steps"] == 2
    assert weights["w"] == -(5 + 7.5)


def test_a_dynamic_scale_doubles_after_two_thousand_good_steps(flags, tmp_path, variables):
    flags(loss_scale="dynamic")
    result = train(two_weights, tmp_path, values=[0.0], steps=2001)
    weights = variables(result.checkpoint)
    assert weights["mox/loss_scale"] == 65536
    assert weights["mox/good_steps"] == 1


def test_the_scale_and_its_counts_go_on_after_a_resume(flags, tmp_path, variables):
    flags(loss_scale="dynamic")
    train(half_precision, tmp_path, values=[5], steps=3)
    result = train(half_precision, tmp_path, values=[5], steps=5)
    weights = variables(result.checkpoint)
    assert (weights["mox/loss_scale"], weights["mox/skipped_steps"], weights["mox/good_steps"]) == (8192, 2, 3)


def test_all_losses_skip_a_step_together(flags, tmp_path, variables):
    flags(loss_scale=32768)

    def model_fn(inputs, mode):
        del mode
        x = tf.reduce_sum(inputs[0])
        first = tf.compat.v1.get_variable("first/w", [], initializer=tf.compat.v1.zeros_initializer())
        second = tf.compat.v1.get_variable("second/w", [], initializer=tf.compat.v1.zeros_initializer())
        in_half = tf.cast(tf.cast(first, tf.float16) * tf.cast(x, tf.float16), tf.float32)
        return mox.ModelSpec(loss=[in_half, x * second], var_scopes=[["first"], ["second"]])

    result = train(model_fn, tmp_path, values=[1, 3], steps=2)
    weights = variables(result.checkpoint)
    assert (weights["first/w"], weights["second/w"], weights["mox/skipped_steps"]) == (-1, -1, 1)


def test_a_training_that_went_without_loss_scaling_can_go_on_with_it(flags, tmp_path, variables, said):
    train(half_precision, tmp_path, values=[5], steps=2)
    flags(loss_scale="dynamic")
    result = train(half_precision, tmp_path, values=[5], steps=4)
    assert variables(result.checkpoint)["mox/loss_scale"] == 8192
    assert result.skipped_steps == 2
    assert said.starting("3 variables of hooks and flags begin with their initial values: ")
