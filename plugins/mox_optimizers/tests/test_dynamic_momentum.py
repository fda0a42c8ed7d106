"""`DyMomentumOptimizer` and `DyMomentumWOptimizer`, against their rules in NumPy; `SimpleSyncOptimizer` alone."""

import math

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from checkpoints import values_of

STEPS, MAX_LR, MIN_LR, MAX_MOM, MIN_MOM = 20, 0.4, 0.02, 0.95, 0.6
START = np.array([[1.5, -0.7], [2.0, 0.4]])
TARGETS = np.random.default_rng(2).normal(size=(32, 2, 2)).astype(np.float32)
FIXED = {"max_lr": MAX_LR, "min_lr": MIN_LR, "max_mom": MAX_MOM, "min_mom": MIN_MOM}


@pytest.fixture(autouse=True)
def _same_seed():
    tf.random.set_seed(1)
    yield
    tf.compat.v1.random.set_random_seed(None)


def rate_of(step, cooldown=0.2):
    """Up along a line in the first quarter, down along half a cosine until the cooldown."""
    part = step / STEPS
    if part < 0.25:
        return MIN_LR + (MAX_LR - MIN_LR) * part / 0.25
    done = min(1.0, (part - 0.25) / (1 - cooldown - 0.25))
    return MIN_LR + (MAX_LR - MIN_LR) * (1 + math.cos(math.pi * done)) / 2


def momentum_of(rate):
    return MAX_MOM - (MAX_MOM - MIN_MOM) * (rate - MIN_LR) / (MAX_LR - MIN_LR)


def model_fn(inputs, mode, *, penalty=False):
    """The gradient at weights x is x - target."""
    del mode
    weights = tf.compat.v1.get_variable("w", initializer=tf.constant(START, tf.float32))
    if penalty:
        tf.compat.v1.losses.add_loss(tf.nn.l2_loss(weights), tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES)
    loss = tf.reduce_sum((weights - inputs[0][0]) ** 2) / 2
    return mox.ModelSpec(loss=loss, log_info={"loss": loss})


def train(log_dir, optimizer_fn, steps=STEPS, model_fn=model_fn):
    result = mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensor_slices(TARGETS).repeat(),  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=optimizer_fn,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        log_dir=log_dir,
        max_number_of_steps=steps,
        log_every_n_steps=100,
        save_summary_steps=1,
    )
    return values_of(result.checkpoint)


def made(kind, **options):
    """As the program of the original has it: rate, step and summary in `optimizer_fn`."""

    def optimizer_fn():
        step = tf.compat.v1.train.get_or_create_global_step()
        rate = mox.learning_rate_scheduler.linear_cosine_decay(MAX_LR, MIN_LR, step, STEPS, 0.25, 0.8)
        options_ = {"global_step": step, "max_iteration": STEPS, "cooldown": 0.2, **options}
        optimizer = kind(rate, MAX_LR, MIN_LR, max_mom=MAX_MOM, min_mom=MIN_MOM, **options_)
        tf.compat.v1.summary.scalar(name="momentum", tensor=optimizer.get_momentum())
        return optimizer

    return optimizer_fn


def walked(*, nesterov=False, decay=0.0, scaled=lambda gradient, _weights: gradient):
    """Weights and velocity after all steps."""
    weights, velocity = START.copy(), np.zeros([2, 2])
    for step in range(STEPS):
        rate = rate_of(step)
        momentum = momentum_of(rate)
        gradient = scaled(weights - TARGETS[step % 32], weights)
        velocity = momentum * velocity + gradient
        update = gradient + momentum * velocity if nesterov else velocity
        weights = weights - rate * update - rate * decay * weights
    return weights, velocity


def lars(gradient, weights, decay=0.0):
    norms = np.linalg.norm(gradient), np.linalg.norm(weights)
    return 0.001 * norms[1] / (norms[0] + decay * norms[1]) * (gradient + decay * weights)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("DyMomentumOptimizer", {}, walked()),
        ("DyMomentumOptimizer", {"use_nesterov": True}, walked(nesterov=True)),
        (
            "DyMomentumOptimizer",
            {"use_lars": True, "weight_decay": 0.3},
            walked(scaled=lambda g, w: lars(g, w, 0.3)),
        ),
        ("DyMomentumWOptimizer", {"weight_decay": 0.3}, walked(decay=0.3)),
        ("DyMomentumWOptimizer", {"weight_decay": 0.3, "use_nesterov": True}, walked(decay=0.3, nesterov=True)),
        ("DyMomentumWOptimizer", {"weight_decay": 0.3, "use_lars": True}, walked(decay=0.3, scaled=lars)),
    ],
)
def test_weights_and_velocity_are_those_of_the_rule(kind, options, expected, tmp_path):
    found = train(tmp_path, made(getattr(mox, kind), **options))
    np.testing.assert_allclose(found["w"], expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["w/Momentum"], expected[1], rtol=1e-5, atol=1e-6)


def test_the_momentum_is_a_summary_and_moves_against_the_rate(tmp_path):
    train(tmp_path, made(mox.DyMomentumOptimizer))
    (path,) = tmp_path.glob("events.out.tfevents.*")
    found = {
        event.step: tf.make_ndarray(value.tensor)
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag.endswith("momentum")
    }
    values = [found[step] for step in sorted(found)]
    np.testing.assert_allclose(values, [momentum_of(rate_of(step)) for step in range(STEPS)], rtol=1e-6)
    assert (min(values), max(values)) == (pytest.approx(MIN_MOM), pytest.approx(MAX_MOM))


def test_in_the_cooldown_the_momentum_is_the_highest_whatever_the_rate():
    for step, momentum in ((15, MIN_MOM), (16, MAX_MOM), (19, MAX_MOM)):
        options = {"global_step": step, "max_iteration": STEPS, "cooldown": 0.2}
        optimizer = mox.DyMomentumOptimizer(MAX_LR, **FIXED, **options)
        assert float(optimizer.get_momentum()) == pytest.approx(momentum)


@pytest.mark.parametrize(("rate", "momentum"), [(0.0, MAX_MOM), (0.21, 0.775), (0.4, MIN_MOM), (2.0, MIN_MOM)])
def test_a_rate_beyond_the_bounds_has_the_momentum_of_the_bound(rate, momentum):
    assert float(mox.DyMomentumWOptimizer(rate, **FIXED).get_momentum()) == pytest.approx(momentum)


@pytest.mark.parametrize("kind", ["DyMomentumOptimizer", "DyMomentumWOptimizer"])
def test_a_resumed_run_ends_with_the_weights_of_one_without_a_stop(kind, tmp_path):
    options = {"weight_decay": 0.1} if kind == "DyMomentumWOptimizer" else {}
    make = made(getattr(mox, kind), **options)
    whole = train(tmp_path / "whole", make)
    for steps in (7, STEPS):
        parts = train(tmp_path / "parts", make, steps)
    assert whole.keys() == parts.keys()
    assert [name for name in whole if not np.array_equal(whole[name], parts[name])] == []


@pytest.mark.parametrize(
    ("options", "penalty", "words"),
    [
        ({"weight_decay": 0.1}, False, "weight_decay=0.1 has no effect without use_lars"),
        ({"weight_decay": 0.1, "use_lars": True}, True, "If its loss holds them, weights decay twice"),
        ({"weight_decay": 0.1}, True, None),
        ({"weight_decay": 0.1, "use_lars": True}, False, None),
        ({}, False, None),
    ],
)
def test_a_decay_that_does_nothing_or_comes_twice_is_named(options, penalty, words, tmp_path, caplog):
    train(
        tmp_path,
        made(mox.DyMomentumOptimizer, **options),
        steps=1,
        model_fn=lambda inputs, mode: model_fn(inputs, mode, penalty=penalty),
    )
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (words is not None)
    assert not words or words in warnings[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_lr": "1"}, "max_lr is '1'; it must be a number, 0 or more."),
        ({"min_lr": 0.4}, "min_lr is 0.4 and max_lr 0.4; min_lr must be the lower one. For a rate that stays, "),
        ({"min_mom": 0.97}, "min_mom is 0.97 and max_mom 0.95; min_mom must not be the higher one, and"),
        ({"max_mom": 1.0}, "min_mom is 0.6 and max_mom 1.0; "),
        ({"cooldown": 1}, "cooldown is 1; it must be a part of max_iteration, below 1."),
        ({"cooldown": 0.1}, "cooldown is a part of max_iteration, which is not given: pass the steps of the run."),
        ({"max_iteration": 0}, "max_iteration is 0; it must be a whole number, 1 or more."),
        ({"weight_decay": -1}, "weight_decay is -1; it must be a number, 0 or more."),
    ],
)
@pytest.mark.parametrize("kind", ["DyMomentumOptimizer", "DyMomentumWOptimizer"])
def test_arguments_that_cannot_be_are_refused_by_name(kind, options, words):
    with pytest.raises(mox.UsageError) as refusal:
        getattr(mox, kind)(0.1, **FIXED | options)
    assert str(refusal.value).startswith(f"{kind}: {words}")


def test_without_other_workers_simple_sync_changes_nothing(tmp_path):
    make = made(mox.DyMomentumOptimizer)
    found = train(tmp_path, lambda: mox.SimpleSyncOptimizer(make(), num_workers=1, task_index=0))
    np.testing.assert_allclose(found["w"], walked()[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_workers": 0}, "num_workers is 0; it must be a whole number, 1 or more."),
        ({"num_workers": 2, "task_index": 2}, "task_index is 2; it must be a whole number from 0, "),
        ({"num_workers": 2, "task_index": 1}, "num_workers is 2, and gradients of 1 can be averaged in this run. "),
    ],
)
def test_simple_sync_refuses_workers_that_are_not_there(options, words):
    with pytest.raises(mox.UsageError) as refusal:
        mox.SimpleSyncOptimizer(mox.get_optimizer_fn("sgd", 0.1)(), **options)
    assert str(refusal.value).startswith(f"SimpleSyncOptimizer: {words}")
