"""Everything that may stand for a learning rate, checked by what plain gradient descent does with it."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mox_core.errors import UsageError
from mox_optimizers import optimizers
from mox_optimizers.learning_rates import resolve


def way(make_rate, steps=4):
    """How far a weight under gradient 1 goes in each step: the learning rates that were used."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        weight = tf.compat.v1.get_variable("w", initializer=tf.zeros([]), use_resource=True)
        step = tf.compat.v1.train.get_or_create_global_step()
        update = optimizers.sgd(make_rate()).minimize(weight, step)
        session.run(tf.compat.v1.global_variables_initializer())
        positions = [0.0]
        for _ in range(steps):
            session.run(update)
            positions.append(session.run(weight))
    return -np.diff(positions)


def assert_way(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.25, 1, 0, np.float32(0.25)])
def test_a_number_stays_the_same(rate):
    assert_way(way(lambda: rate), [rate] * 4)


def test_a_keras_schedule_sees_the_global_step():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [1.0, 0.5])
    assert_way(way(lambda: schedule), [1.0, 1.0, 0.5, 0.5])


def test_a_function_of_the_step_sees_the_global_step():
    assert_way(way(lambda: lambda step: 1.0 / (1.0 + tf.cast(step, tf.float32))), [1, 1 / 2, 1 / 3, 1 / 4])


def test_a_compiled_function_of_the_step_sees_the_global_step():
    half = tf.function(lambda step: 0.5 ** tf.cast(step, tf.float32))
    assert_way(way(lambda: half), [1, 1 / 2, 1 / 4, 1 / 8])


def test_a_function_of_nothing_is_called():
    assert_way(way(lambda: lambda: 0.5), [0.5] * 4)


def test_a_function_that_hides_its_arguments_gets_the_step():
    def rate(step, base):
        return base * tf.cast(step, tf.float32)

    assert_way(way(lambda: functools.partial(rate, base=0.5)), [0, 0.5, 1, 1.5])
    assert_way(way(lambda: lambda *args: rate(*args, base=0.5)), [0, 0.5, 1, 1.5])


def test_a_tensor_made_from_the_global_step_follows_it():
    def make():
        step = tf.compat.v1.train.get_global_step()
        return tf.compat.v1.train.exponential_decay(1.0, step, decay_steps=2, decay_rate=0.1, staircase=True)

    assert_way(way(make), [1, 1, 0.1, 0.1])


def test_a_function_graph_makes_the_rate_anew_in_every_call():
    step = tf.Variable(0, dtype=tf.int64)

    def build():
        tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.GLOBAL_STEP, step)
        return resolve(keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.5]))

    traced = tf.compat.v1.wrap_function(build, [])
    first = float(traced())
    step.assign_add(1)
    assert (first, float(traced())) == (1.0, 0.5)


def test_a_function_that_calculates_on_whole_numbers_is_told_of_the_cast():
    with (
        tf.Graph().as_default(),
        pytest.raises(UsageError, match=r"let it begin with step = tf\.cast\(step, tf\.float32\)"),
    ):
        resolve(lambda step: 0.9**step)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (-0.1, "learning_rate -0.1 is not allowed: it must be finite, and 0 or more."),
        (float("nan"), "learning_rate nan is not allowed: it must be finite, and 0 or more."),
        ("0.1", "learning_rate '0.1' is not allowed: give a number, a scalar tensor, a LearningRateSchedule of "),
        (True, "learning_rate True is not allowed: give a number, "),
        (None, "learning_rate None is not allowed: give a number, "),
        (lambda: -1.0, "learning_rate -1.0 is not allowed: it must be finite, and 0 or more."),
        (tf.constant([0.1, 0.2]), "the learning rate must be one floating-point number, not "),
        (tf.constant(1), "the learning rate must be one floating-point number, not "),
        (lambda a, b: a * b, "must take one argument, the step, or none; it has a, b."),
        (lambda rate=0.1: rate, "must take one argument, the step, or none; it has rate=0.1."),
    ],
)  # fmt: skip
def test_what_is_no_learning_rate_is_refused(rate, words):
    with pytest.raises(UsageError) as refusal:
        optimizers.sgd(rate)
    assert words in str(refusal.value)
