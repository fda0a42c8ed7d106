"""Optimizers and learning rates of every kind, against training that is worked out in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

STEPS = 30


def _step():
    return tf.cast(tf.compat.v1.train.get_global_step(), tf.float32)


def _constant(step):
    del step
    return 0.1


def _halved(step):
    return 0.1 * 0.5 ** (step // 10)


MAKERS = {
    "a name of mox": lambda rate: mox.get_optimizer_fn("momentum", rate, momentum=0.5)(),
    "v1": lambda rate: tf.compat.v1.train.MomentumOptimizer(rate, 0.5),
    "Keras 3": lambda rate: keras.optimizers.SGD(rate, momentum=0.5),
}
# How the rate is given, made inside optimizer_fn, and what it is at a step.
RATES = {
    "number": (lambda: 0.1, _constant),
    "Keras schedule": (
        lambda: keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5, staircase=True),
        _halved,
    ),
    "function of the step": (
        lambda: lambda step: 0.1 / (1.0 + tf.cast(step, tf.float32)),
        lambda step: 0.1 / (1.0 + step),
    ),
    "function of nothing": (lambda: lambda: 0.1, _constant),
    "tensor": (lambda: 0.1 / (1.0 + _step()), lambda step: 0.1 / (1.0 + step)),
    "TF1 decay": (
        lambda: tf.compat.v1.train.exponential_decay(
            0.1, tf.compat.v1.train.get_or_create_global_step(), 10, 0.5, staircase=True
        ),
        _halved,
    ),
}
# TF1's optimizers call what is callable without an argument, and know no schedule; Keras 3 knows no tensor of a graph.
KNOWN = {
    "a name of mox": set(RATES),
    "v1": {"number", "function of nothing", "tensor", "TF1 decay"},
    "Keras 3": {"number", "Keras schedule", "function of nothing"},
}


@pytest.mark.parametrize(
    ("maker", "rate"), [(maker, rate) for maker in MAKERS for rate in RATES if rate in KNOWN[maker]]
)
def test_rates_of_every_kind_train_as_numpy_does(maker, rate, regression, variables, tmp_path):
    make_rate, expected_rate = RATES[rate]
    result = mox.run(
        input_fn=regression.input_fn,
        model_fn=regression.model_fn,
        optimizer_fn=lambda: MAKERS[maker](make_rate()),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=8,
        log_dir=tmp_path,
        max_number_of_steps=STEPS,
    )
    found = variables(result.checkpoint)
    if maker == "Keras 3":
        expected = _keras_momentum(regression, expected_rate)
    else:
        trained = regression.train(STEPS, batch_size=8, rate=expected_rate, momentum=0.5)
        expected = [*trained.weights, trained.bias]
    np.testing.assert_allclose([*found["weights"], found["bias"]], expected, rtol=1e-4)


def _keras_momentum(regression, rate):
    """Keras keeps the rate in its velocity: v = momentum * v - rate * g, w += v; it differs where the rate changes."""
    weights, velocity = np.zeros(4), np.zeros(4)
    for step, (features, targets) in enumerate(regression.batches(STEPS, 8)):
        rows = np.column_stack([features, np.ones(8)])
        gradient = 2 * rows.T @ (rows @ weights - targets) / 8
        velocity = 0.5 * velocity - rate(step) * gradient
        weights = weights + velocity
    return weights


def test_a_schedule_goes_on_where_a_resumed_run_goes_on(regression, variables, tmp_path):
    for steps in (13, STEPS):
        result = mox.run(
            input_fn=regression.input_fn,
            model_fn=regression.model_fn,
            optimizer_fn=lambda: keras.optimizers.SGD(RATES["Keras schedule"][0](), momentum=0.5),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=8,
            log_dir=tmp_path,
            max_number_of_steps=steps,
        )
    found = variables(result.checkpoint)
    np.testing.assert_allclose([*found["weights"], found["bias"]], _keras_momentum(regression, _halved), rtol=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        (lambda: tf.compat.v1.train.MomentumOptimizer(0.1, 0.9), "MomentumOptimizer"),
        (lambda: keras.optimizers.Adam(0.1), "Adam"),
    ],
)
def test_an_optimizer_in_place_of_a_function_is_refused_with_the_lambda_to_write(optimizer, kind, regression):
    made = optimizer()
    with pytest.raises(mox.UsageError) as refusal:
        mox.run(
            input_fn=regression.input_fn,
            model_fn=regression.model_fn,
            optimizer_fn=made,
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=8,
            max_number_of_steps=1,
        )
    assert str(refusal.value) == (
        f"optimizer_fn is {made!r}; it must be a function that returns an optimizer, not the optimizer: "
        f"optimizer_fn=lambda: {kind}(...)."
    )


def test_a_keras_optimizer_made_outside_is_refused_instead_of_half_saved(regression, tmp_path):
    outside = keras.optimizers.SGD(0.1, momentum=0.9)
    options = {
        "input_fn": regression.input_fn,
        "model_fn": regression.model_fn,
        "optimizer_fn": lambda: outside,
        "run_mode": mox.ModeKeys.TRAIN,
        "batch_size": 8,
    }
    with pytest.raises(mox.UsageError) as refusal:
        mox.run(log_dir=tmp_path, max_number_of_steps=2, **options)
    assert str(refusal.value) == (
        "optimizer_fn returned an optimizer that was made outside of it (SGD): its state would not be saved, "
        "and another run would go on with it. Make it inside: optimizer_fn=lambda: SGD(...)."
    )
    assert not list(tmp_path.glob("*.index"))


@pytest.mark.parametrize("kind", ["v1", "Keras 3"])
def test_one_function_makes_an_optimizer_for_each_loss(kind, regression, variables, tmp_path):
    def model_fn(inputs, mode):
        del mode
        one = tf.reduce_mean(inputs[0] * 0 + 1)
        losses = []
        for name in ("a", "b"):
            with tf.compat.v1.variable_scope(name):
                losses.append(tf.compat.v1.get_variable("w", initializer=1.0) * one)
        return mox.ModelSpec(loss=losses, var_scopes=[["a"], ["b"]])

    adam = {"v1": tf.compat.v1.train.AdamOptimizer, "Keras 3": keras.optimizers.Adam}[kind]
    result = mox.run(
        input_fn=regression.input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: adam(0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=8,
        log_dir=tmp_path,
        max_number_of_steps=3,
    )
    found = variables(result.checkpoint)
    # Adam goes by the learning rate in each step while the gradient is constant, if it is corrected once a step.
    assert [found["a/w"], found["b/w"]] == [pytest.approx(0.7, abs=1e-4)] * 2


@pytest.mark.parametrize("returned", [None, 0.1, keras.optimizers.SGD])
def test_what_is_no_optimizer_is_refused(returned, regression):
    with pytest.raises(mox.UsageError, match=r"^optimizer_fn returned .* It returns an optimizer: "):
        mox.run(
            input_fn=regression.input_fn,
            model_fn=regression.model_fn,
            optimizer_fn=lambda: returned,
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=8,
            max_number_of_steps=1,
        )
