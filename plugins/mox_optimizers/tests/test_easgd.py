"""`easgd`: elastic averaging, against algorithm 1 of its paper (arXiv 1412.6651) in NumPy."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from checkpoints import values_of
from mox_core.engine.optimizer.wrappers import collective_scope

TARGETS = np.random.default_rng(2).normal(size=(16, 3)).astype(np.float32)
START = np.array([1.5, -0.7, 2.0])


@pytest.fixture(autouse=True)
def _same_seed():
    tf.random.set_seed(1)
    yield
    tf.compat.v1.random.set_random_seed(None)


def model_fn(inputs, mode):
    """The gradient at weights x is x - target."""
    del mode
    weights = tf.compat.v1.get_variable("w", initializer=tf.constant(START, tf.float32))
    loss = tf.reduce_sum((weights - inputs[0][0]) ** 2) / 2
    return mox.ModelSpec(loss=loss, log_info={"loss": loss})


def train(log_dir, steps, optimizer_fn, **options):
    result = mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensor_slices(TARGETS).repeat(),  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=optimizer_fn,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        log_dir=log_dir,
        max_number_of_steps=steps,
        log_every_n_steps=100,
        **options,
    )
    return values_of(result.checkpoint)


def easgd(make, **options):
    def optimizer_fn():
        return mox.get_optimizer_wrapper_fn("easgd", make(), **options)()

    return optimizer_fn


def papers(steps, alpha, tau, momentum=0.0, start=START):
    """Weights and center of one worker (p = 1) after so many steps with a learning rate of 0.2."""
    weights, center, velocity = start.copy(), start.copy(), np.zeros(3)
    for clock in range(steps):
        before = weights.copy()
        if clock % tau == 0:
            weights = weights - alpha * (before - center)
            center = center + alpha * (before - center)
        velocity = momentum * velocity + (before - TARGETS[clock % 16])
        weights = weights - 0.2 * velocity
    return weights, center


def assert_same(found, expected):
    for name, value in zip(("w", "w/easgd_center"), expected, strict=True):
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("alpha", "tau"), [(0.3, 1), (0.9, 4)])
def test_weights_and_center_are_the_papers(alpha, tau, tmp_path):
    sgd = mox.get_optimizer_fn("sgd", 0.2)
    found = train(tmp_path, 11, easgd(sgd, moving_rate=alpha, communication_period=tau))
    assert_same(found, papers(11, alpha, tau))


@pytest.mark.parametrize(
    "make", [mox.get_optimizer_fn("momentum", 0.2, momentum=0.5), lambda: keras.optimizers.SGD(0.2, momentum=0.5)]
)
def test_the_optimizer_inside_keeps_its_momentum(make, tmp_path):
    found = train(tmp_path, 9, easgd(make, moving_rate=0.3, communication_period=2))
    assert_same(found, papers(9, 0.3, 2, momentum=0.5))


def test_the_paper_gives_what_is_not_given(tmp_path):
    found = train(tmp_path, 25, easgd(mox.get_optimizer_fn("sgd", 0.2)))
    assert_same(found, papers(25, 0.9, 10))


def test_on_p_workers_the_moving_rate_is_a_pth_of_that_on_one():
    with collective_scope(SimpleNamespace(world_size=3, synchronous=False)):
        optimizer = easgd(mox.get_optimizer_fn("sgd", 0.2))()
    assert optimizer.moving_rate == pytest.approx(0.3)


def test_a_resumed_run_goes_on_in_its_period(tmp_path):
    make = easgd(mox.get_optimizer_fn("momentum", 0.2, momentum=0.5), moving_rate=0.3, communication_period=3)
    whole = train(tmp_path / "whole", 11, make)
    for steps in (4, 11):
        parts = train(tmp_path / "parts", steps, make)
    assert whole.keys() == parts.keys()
    assert [name for name in whole if not np.array_equal(whole[name], parts[name])] == []


def test_the_center_begins_at_the_weights_of_another_runs_checkpoint(tmp_path):
    """A run without a center left the weights elsewhere than where they begin in this program."""
    sgd = mox.get_optimizer_fn("sgd", 0.2)
    before = train(tmp_path / "before", 16, sgd)["w"]
    options = {"moving_rate": 0.3, "communication_period": 2}
    mox.set_flag("checkpoint_exclude_patterns", "global_step")
    found = train(tmp_path / "after", 7, easgd(sgd, **options), checkpoint_path=tmp_path / "before")
    assert np.abs(before - START).max() > 1
    assert_same(found, papers(7, 0.3, 2, start=before.astype(np.float64)))


def test_around_and_inside_batch_gradients_it_counts_what_it_is_given(tmp_path):
    sgd = mox.get_optimizer_fn("sgd", 0.2)
    options = {"moving_rate": 0.3, "communication_period": 1}

    def inside():
        return mox.get_optimizer_wrapper_fn("batch_gradients", easgd(sgd, **options)(), num_batches=4)()

    assert train(tmp_path / "inside", 9, inside)["easgd/clock"] == 2

    def around():
        batches = mox.get_optimizer_wrapper_fn("batch_gradients", sgd(), num_batches=4)()
        return mox.get_optimizer_wrapper_fn("easgd", batches, **options)()

    assert train(tmp_path / "around", 9, around)["easgd/clock"] == 9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"moving_rate": 1.0}, "easgd: moving_rate is 1.0; it must be a number above 0 and below 1."),
        ({"moving_rate": 0}, "easgd: moving_rate is 0; it must be a number above 0 and below 1."),
        ({"moving_rate": "0.1"}, "easgd: moving_rate is '0.1'; it must be a number above 0 and below 1."),
        (
            {"communication_period": 0},
            "easgd: communication_period is 0; it must be a whole number, 1 or more.",
        ),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options, words):
    with pytest.raises(mox.UsageError) as refusal:
        easgd(mox.get_optimizer_fn("sgd", 0.2), **options)()
    assert str(refusal.value) == words
