"""`batch_gradients`: steps of small batches that train as one of a large batch does."""

import logging
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from checkpoints import values_of
from mox_core.engine.optimizer.train_step import LEARNING_RATE_FACTORS
from mox_core.engine.optimizer.wrappers import collective_scope

NUMBERS = np.random.default_rng(5)
FEATURES = NUMBERS.normal(size=(64, 3)).astype(np.float32)
WORDS = np.array([*NUMBERS.integers(0, 6, 60), 7, 7, 8, 9])  # word 6 never comes, and 7 to 9 in the last batch only
TARGETS = (np.tanh(FEATURES @ [1.0, -2.0, 0.5]) + 0.3 * WORDS).astype(np.float32)


@pytest.fixture(autouse=True)
def _same_seed():
    tf.random.set_seed(1)
    yield
    tf.compat.v1.random.set_random_seed(None)


def batches(*arrays):
    """An input_fn: the samples in their order, round and round."""
    return lambda mode: tf.data.Dataset.from_tensor_slices(arrays).repeat()  # noqa: ARG005


def two_layers(inputs, mode):
    del mode
    features, _, targets = inputs
    hidden = tf.tanh(features @ tf.compat.v1.get_variable("hidden", [3, 4]))
    outputs = keras.layers.Dense(1)(hidden)
    loss = tf.reduce_mean((outputs[:, 0] - targets) ** 2)
    return mox.ModelSpec(loss=loss, log_info={"loss": loss})


def with_words(inputs, mode):
    del mode
    features, words, targets = inputs
    table = tf.compat.v1.get_variable("words", [10, 2], initializer=tf.compat.v1.ones_initializer())
    factors = tf.compat.v1.get_variable("factors", [5, 1])
    outputs = tf.concat([features, tf.nn.embedding_lookup(table, words)], axis=1) @ factors
    return mox.ModelSpec(loss=tf.reduce_mean((outputs[:, 0] - targets) ** 2))


def slope(inputs, mode):
    """A loss with the samples themselves as gradients of `w`, a scalar from zero."""
    del mode
    loss = tf.compat.v1.get_variable("w", initializer=0.0) * tf.reduce_mean(inputs[0])
    return mox.ModelSpec(loss=loss, log_info={"loss": loss})


def train(log_dir, steps, optimizer_fn, model_fn=two_layers, *, batch_size=2, input_fn=None):
    """Train, and read what the checkpoint holds."""
    result = mox.run(
        input_fn=input_fn or batches(FEATURES, WORDS, TARGETS),
        model_fn=model_fn,
        optimizer_fn=optimizer_fn,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=batch_size,
        log_dir=log_dir,
        max_number_of_steps=steps,
        log_every_n_steps=100,
    )
    return values_of(result.checkpoint)


def wrapped(make, **options):
    def optimizer_fn():
        return mox.get_optimizer_wrapper_fn("batch_gradients", make(), **options)()

    return optimizer_fn


def assert_same(small, large):
    """What training by large batches holds, the other holds too, but for the steps and the place in the input."""
    for name, value in large.items():
        if name not in {"global_step", "mox/input_positions"}:
            np.testing.assert_allclose(small[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


OPTIMIZERS = {
    "sgd": mox.get_optimizer_fn("sgd", 0.1),
    "momentum": mox.get_optimizer_fn("momentum", 0.05, momentum=0.9),
    "adam": mox.get_optimizer_fn("adam", 0.01, epsilon=1e-3),
    "Keras SGD": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "Keras Adam": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_eight_steps_of_a_batch_equal_one_of_a_batch_eight_times_as_large(kind, tmp_path):
    large = train(tmp_path / "large", 5, OPTIMIZERS[kind], batch_size=16)
    small = train(tmp_path / "small", 40, wrapped(OPTIMIZERS[kind]), batch_size=2)
    assert (large["global_step"], small["global_step"]) == (5, 40)
    assert len(large) >= 6, "weights, bias and what the run keeps"
    assert_same(small, large)


@pytest.mark.parametrize("kind", ["momentum", "adam", "Keras SGD"])
def test_sparse_gradients_equal_those_of_the_large_batch_too(kind, tmp_path):
    # TensorFlow's momentum leaves rows as they are that a batch does not look up: 7 to 9 in most batches.
    make = wrapped(OPTIMIZERS[kind], num_batches=4)
    for updates in (4, 5):
        large = train(tmp_path / f"large{updates}", updates, OPTIMIZERS[kind], with_words, batch_size=16)
        small = train(tmp_path / f"small{updates}", updates * 4, make, with_words, batch_size=4)
        assert_same(small, large)
    assert small["words"][6].tolist() == [1, 1]
    assert small["words"][9].tolist() != [1, 1]


def test_between_two_updates_nothing_moves(tmp_path):
    make = wrapped(OPTIMIZERS["adam"], num_batches=4)
    before, later = (train(tmp_path / str(steps), steps, make) for steps in (8, 11))
    assert (before["batch_gradients/count"], later["batch_gradients/count"]) == (0, 3)
    assert not before["hidden/batch_gradients"].any()
    assert later["hidden/batch_gradients"].any()
    own = {"hidden", "dense/kernel", "hidden/Adam", "hidden/Adam_1", "beta1_power"}
    assert own <= before.keys()
    for name in own:
        np.testing.assert_array_equal(later[name], before[name])


@pytest.mark.parametrize("kind", ["adam", "Keras SGD"])
@pytest.mark.parametrize("model_fn", [two_layers, with_words])
def test_a_run_resumed_in_the_middle_of_a_period_has_the_bits_of_one_that_never_stopped(kind, model_fn, tmp_path):
    make = wrapped(OPTIMIZERS[kind], num_batches=8)
    whole = train(tmp_path / "whole", 21, make, model_fn)
    for steps in (5, 13, 21):
        parts = train(tmp_path / "parts", steps, make, model_fn)
    assert whole.keys() == parts.keys()
    assert [name for name in whole if not np.array_equal(whole[name], parts[name])] == []


def test_a_run_resumed_with_a_shorter_period_applies_the_mean_of_what_it_has(tmp_path):
    counting = batches(np.arange(1, 9, dtype=np.float32))
    sgd = mox.get_optimizer_fn("sgd", 1.0)
    train(tmp_path, 3, wrapped(sgd, num_batches=8), slope, batch_size=1, input_fn=counting)
    found = train(tmp_path, 6, wrapped(sgd, num_batches=2), slope, batch_size=1, input_fn=counting)
    assert found["w"] == -((1 + 2 + 3 + 4) / 4 + (5 + 6) / 2)


def test_each_loss_has_periods_of_its_own(tmp_path):
    def model_fn(inputs, mode):
        del mode
        losses = []
        for scope in ("a", "b"):
            with tf.compat.v1.variable_scope(scope):
                losses.append(tf.compat.v1.get_variable("w", initializer=0.0) * tf.reduce_mean(inputs[0]))
        return mox.ModelSpec(loss=losses, var_scopes=[["a"], ["b"]])

    sgd = mox.get_optimizer_fn("sgd", 1.0)
    makers = [wrapped(sgd, num_batches=2), wrapped(sgd, num_batches=3)]
    counting = batches(np.arange(1, 9, dtype=np.float32))
    found = train(tmp_path, 5, makers, model_fn, batch_size=1, input_fn=counting)
    assert (found["a/w"], found["b/w"]) == (-(1.5 + 3.5), -2.0)
    assert (found["batch_gradients/count"], found["batch_gradients/count_1"]) == (1, 2)
    assert (found["a/w/batch_gradients"], found["b/w/batch_gradients"]) == (5.0, 4.0 + 5.0)


def test_one_inside_another_counts_the_updates_of_the_outer_one(tmp_path):
    twice = wrapped(wrapped(OPTIMIZERS["momentum"], num_batches=2), num_batches=4)
    once = wrapped(OPTIMIZERS["momentum"], num_batches=8)
    one, other = train(tmp_path / "twice", 24, twice), train(tmp_path / "once", 24, once)
    for name in ("hidden", "dense/kernel", "hidden/Momentum"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6)


def test_rates_follow_the_global_step_and_keras_own_schedules_the_updates(tmp_path):
    ones = batches(np.ones(8, np.float32))
    by_step = mox.get_optimizer_fn("sgd", lambda step: 1 / (1 + tf.cast(step, tf.float32)))
    found = train(tmp_path / "mox", 8, wrapped(by_step, num_batches=4), slope, input_fn=ones)
    assert found["w"] == pytest.approx(-(1 / 4 + 1 / 8)), "the rates of steps 3 and 7, which end a period"

    def keras_sgd():
        return keras.optimizers.SGD(keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.125]))

    found = train(tmp_path / "keras", 8, wrapped(keras_sgd, num_batches=4), slope, input_fn=ones)
    assert found["w"] == pytest.approx(-(1 + 0.125)), "the rates of updates 0 and 1"


def test_a_factor_of_the_learning_rate_reaches_the_optimizer_inside(tmp_path):
    """Such as a hook that lowers it puts into the graph."""

    def model_fn(inputs, mode):
        tf.compat.v1.add_to_collection(LEARNING_RATE_FACTORS, tf.constant(0.25))
        return slope(inputs, mode)

    ones = batches(np.ones(8, np.float32))
    for kind, make in {"mox": mox.get_optimizer_fn("sgd", 1.0), "keras": lambda: keras.optimizers.SGD(1.0)}.items():
        found = train(tmp_path / kind, 8, wrapped(make, num_batches=4), model_fn, input_fn=ones)
        assert found["w"] == -0.25 * 2


def test_half_precision_variables_have_sums_of_full_precision(tmp_path):
    def model_fn(inputs, mode):
        del mode
        weight = tf.compat.v1.get_variable("w", [], tf.float16, tf.compat.v1.zeros_initializer())
        return mox.ModelSpec(loss=weight * tf.cast(inputs[0][0], tf.float16))

    # 2048 + 1 is 2048 in float16.
    numbers = batches(np.array([2048, *[1] * 7], np.float32))
    make = wrapped(mox.get_optimizer_fn("sgd", 1.0), num_batches=8)
    found = train(tmp_path, 8, make, model_fn, batch_size=1, input_fn=numbers)
    assert found["w"] == np.float16(-2055 / 8)


def test_steps_that_are_skipped_for_a_gradient_that_is_not_finite_do_not_count(tmp_path):
    @tf.custom_gradient
    def with_gradient(weight, gradient):
        return tf.zeros_like(weight), lambda upstream: (upstream * gradient, None)

    def model_fn(inputs, mode):
        del mode
        weight = tf.compat.v1.get_variable("w", initializer=0.0)
        return mox.ModelSpec(loss=with_gradient(tf.identity(weight), inputs[0][0]))

    mox.set_flag("loss_scale", 2)
    numbers = batches(np.array([1, np.inf, 3, 5, np.inf, 7], np.float32))
    make = wrapped(mox.get_optimizer_fn("sgd", 1.0), num_batches=2)
    found = train(tmp_path, 6, make, model_fn, batch_size=1, input_fn=numbers)
    assert found["mox/skipped_steps"] == 2
    assert found["w"] == -((1 + 3) / 2 + (5 + 7) / 2)


def test_a_period_of_one_step_is_the_optimizer_itself():
    optimizer = tf.compat.v1.train.GradientDescentOptimizer(0.1)
    assert mox.get_optimizer_wrapper_fn("batch_gradients", optimizer, num_batches=1)() is optimizer


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_batches": 0}, "batch_gradients: num_batches is 0; it must be a whole number, 1 or more."),
        ({"num_batches": 2.0}, "batch_gradients: num_batches is 2.0; it must be a whole number, 1 or more."),
        ({"num_batches": True}, "batch_gradients: num_batches is True; it must be a whole number, 1 or more."),
        ({"sync_on_apply": "no"}, "batch_gradients: sync_on_apply is 'no'; it must be True or False."),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options, words):
    optimizer = tf.compat.v1.train.GradientDescentOptimizer(0.1)
    with pytest.raises(mox.UsageError) as refusal:
        mox.get_optimizer_wrapper_fn("batch_gradients", optimizer, **options)()
    assert str(refusal.value) == words


@pytest.mark.parametrize(
    ("workers", "together", "warned"),
    [(1, True, False), (1, False, False), (2, True, True), (2, False, False)],
)
def test_only_workers_that_step_together_are_warned_and_once(workers, together, warned):
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(f"{record.levelname}:{record.name}:{record.getMessage()}")
    tf.get_logger().addHandler(handler)
    try:
        with tf.Graph().as_default(), collective_scope(SimpleNamespace(world_size=workers, synchronous=together)):
            for name in ("batch_gradients", "easgd", "batch_gradients"):
                mox.get_optimizer_wrapper_fn(name, tf.compat.v1.train.GradientDescentOptimizer(0.1))()
    finally:
        tf.get_logger().removeHandler(handler)
    text = "WARNING:tensorflow:Using OptimizerWrapper when sync_replicas is True may cause performance loss."
    assert said == [text] * warned
