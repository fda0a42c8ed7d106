"""`rate_multipliers`: a learning rate for each part of a model, for optimizers that are written out in NumPy here."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from checkpoints import values_of

STEPS = 6
RATE = 0.1
START = {"head/a": 1.0, "body/b": -2.0}
AIMS = {"head/a": 3.0, "body/b": 1.5}
FACTORS = {"head/": 10.0, "b": 0.5}
OWN = {"head/a": RATE * 10, "body/b": RATE * 0.5}


def model_fn(inputs, mode):
    del mode
    loss = 0.0 * tf.reduce_sum(inputs[0])
    for name, value in START.items():
        variable = tf.compat.v1.get_variable(name, initializer=value)
        loss += 0.5 * (variable - AIMS[name]) ** 2
    return mox.ModelSpec(loss=loss)


def train(optimizer_fn, log_dir, model_fn=model_fn, steps=STEPS):
    result = mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensors(0.0).repeat(),  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=optimizer_fn,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        max_number_of_steps=steps,
        log_dir=log_dir,
    )
    return values_of(result.checkpoint)


def wrapped(make, multipliers=FACTORS):
    def optimizer_fn():
        return mox.get_optimizer_wrapper_fn("rate_multipliers", make(), multipliers=multipliers)()

    return optimizer_fn


def sgd(w, aim, rate):
    for _ in range(STEPS):
        w -= rate * (w - aim)
    return w


def momentum(w, aim, rate):
    velocity = 0.0
    for _ in range(STEPS):
        velocity = 0.5 * velocity + (w - aim)
        w -= rate * velocity
    return w


def adam(w, aim, rate, decay=0.0):
    m = v = 0.0
    for step in range(1, STEPS + 1):
        gradient = w - aim
        w -= rate * decay * w
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-7)
    return w


def adamw(w, aim, rate):
    return adam(w, aim, rate, decay=0.2)


def rmsprop(w, aim, rate):
    mean = 0.0
    for _ in range(STEPS):
        gradient = w - aim
        mean = 0.9 * mean + 0.1 * gradient**2
        w -= rate * gradient / np.sqrt(mean + 1e-7)
    return w


OPTIMIZERS = {
    "sgd": (mox.get_optimizer_fn("sgd", RATE), sgd),
    "momentum": (mox.get_optimizer_fn("momentum", RATE, momentum=0.5), momentum),
    "adam": (mox.get_optimizer_fn("adam", RATE, epsilon=1e-7), adam),
    "Keras momentum": (lambda: keras.optimizers.SGD(RATE, momentum=0.5), momentum),
    "Keras Adam": (lambda: keras.optimizers.Adam(RATE), adam),
    "Keras AdamW": (lambda: keras.optimizers.AdamW(RATE, weight_decay=0.2), adamw),
    "Keras RMSprop": (lambda: keras.optimizers.RMSprop(RATE, rho=0.9), rmsprop),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_each_part_is_trained_as_by_its_own_learning_rate(kind, tmp_path):
    make, rule = OPTIMIZERS[kind]
    found = train(wrapped(make), tmp_path)
    expected = {name: rule(START[name], AIMS[name], OWN[name]) for name in START}
    assert {name: float(found[name]) for name in START} == pytest.approx(expected, rel=1e-4)


def test_slots_and_what_no_pattern_matches_are_those_of_the_optimizer_alone(tmp_path):
    make = OPTIMIZERS["momentum"][0]
    plain = train(make, tmp_path / "plain", steps=1)
    found = train(wrapped(make, {"head": 10.0}), tmp_path / "wrapped", steps=1)
    assert plain.keys() == found.keys()
    different = {name for name in plain if not np.array_equal(plain[name], found[name])} - {"mox/seed"}
    assert different == {"head/a"}


def test_rows_of_an_embedding_that_are_not_looked_up_stay(tmp_path):
    def embedding(inputs, mode):
        del inputs, mode
        table = tf.compat.v1.get_variable("head/table", initializer=tf.ones([4, 1]))
        return mox.ModelSpec(loss=tf.reduce_sum(tf.nn.embedding_lookup(table, [2])))

    found = train(wrapped(OPTIMIZERS["sgd"][0], {"table": 3.0}), tmp_path, embedding, steps=2)
    assert found["head/table"].ravel() == pytest.approx([1, 1, 1 - 2 * 3 * RATE, 1])


def test_constraints_hold_for_the_multiplied_change(tmp_path):
    def above_zero(inputs, mode):
        del mode
        options = {"kernel_constraint": "non_neg", "kernel_initializer": "ones", "use_bias": False}
        dense = keras.layers.Dense(1, name="head", **options)
        return mox.ModelSpec(loss=tf.reduce_sum(dense(inputs[0][:, None] + 1)))

    found = train(wrapped(OPTIMIZERS["sgd"][0], {"head": 30.0}), tmp_path, above_zero, steps=1)
    assert found["head/kernel"] == 0, "1 - 30 * 0.1 is below zero"


def test_steps_that_a_wrapper_outside_puts_off_change_nothing(tmp_path):
    def optimizer_fn():
        inside = wrapped(OPTIMIZERS["sgd"][0], {"head": 10.0})()
        return mox.get_optimizer_wrapper_fn("batch_gradients", inside, num_batches=4)()

    found = train(optimizer_fn, tmp_path, steps=7)
    assert found["head/a"] == pytest.approx(1 - 10 * RATE * (1 - 3))
    assert found["body/b"] == pytest.approx(-2 - RATE * (-2 - 1.5))


@pytest.mark.parametrize(
    ("multipliers", "words"),
    [
        ({}, "multipliers is {}; it must map patterns of names to factors"),
        ([("head", 2)], r"multipliers is \[\('head', 2\)\]; it must map patterns"),
        ({"head": 0}, "the factor of 'head' is 0; it must be a number above 0. What is not to be trained at all"),
        ({"head": True}, "the factor of 'head' is True; it must be a number above 0"),
        ({"*/a": 2.0}, r"multipliers holds '\*/a', which is no regular expression: nothing to repeat"),
        ({3: 2.0}, "multipliers holds 3, which is no regular expression"),
        ({"haed/": 2.0}, "multipliers holds 'haed/', which matches no variable. Did you mean 'head'"),
        ({"zzz": 2.0}, "holds 'zzz', which matches no variable. Scopes and variables are head, body."),
        ({"head|body": 2.0, "/a": 3.0}, "'/a' matches only variables that patterns before it match"),
    ],
)
def test_multipliers_that_cannot_be_are_refused_with_the_way_out(multipliers, words):
    with pytest.raises(mox.UsageError, match=words):
        train(wrapped(OPTIMIZERS["sgd"][0], multipliers), None)


def test_optimizers_whose_steps_cannot_be_multiplied_are_refused():
    with pytest.raises(mox.UsageError, match="FtrlOptimizer computes weights anew from its sums"):
        train(wrapped(mox.get_optimizer_fn("ftrl", RATE)), None)
    with pytest.raises(mox.UsageError, match="Adam has use_ema=True, and would average weights"):
        train(wrapped(lambda: keras.optimizers.Adam(RATE, use_ema=True)), None)
