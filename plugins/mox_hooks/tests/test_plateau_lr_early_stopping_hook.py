"""`PlateauLREarlyStoppingHook` changes the rate by which weights move; its rule is compared with Keras's elsewhere."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

SCHEDULE = {"batch_size": 2, "samples_in_train": 4, "samples_in_eval": 4}
VALUES = [1.0, 0.5, 0.5, 0.5, 0.5, 0.2, 0.2, 0.2, 0.2]


def _hook(**options):
    return lambda value: mox.PlateauLREarlyStoppingHook({"loss": value}, "loss", **SCHEDULE | options)


OPTIMIZERS = {
    "v1": lambda: tf.compat.v1.train.GradientDescentOptimizer(0.8),
    "Keras 3": lambda: keras.optimizers.SGD(0.8),
    "a name of mox": mox.get_optimizer_fn("sgd", 0.8),
}


def _keras_rates(values, **options):
    """The learning rate of each evaluation's epoch, by the callback of Keras."""
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.8), "mse")
    callback = keras.callbacks.ReduceLROnPlateau("loss", **options)
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        rates.append(float(model.optimizer.learning_rate.numpy()))
        callback.on_epoch_end(epoch, {"loss": value})
    return rates


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_weight_moves_by_the_rates_of_keras(train_on, tmp_path, kind):
    """Two steps an epoch; halved for the 5th epoch and, after 0.2 was better, for the 9th; never below 0.3."""
    options = {"factor": 0.5, "patience": 2, "min_lr": 0.3}
    expected = np.repeat(_keras_rates(VALUES, **options), 2)
    assert [float(round(rate, 3)) for rate in expected[::2]] == [0.8] * 4 + [0.4] * 4 + [0.3]
    rates = []
    result = train_on(VALUES, _hook(**options), optimizer_fn=OPTIMIZERS[kind], rates=rates, steps=18, log_dir=tmp_path)
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    weight = tf.train.load_checkpoint(result.checkpoint).get_tensor("weight")
    np.testing.assert_allclose(weight, -expected.sum(), rtol=1e-5)


def test_a_compiled_call_of_many_steps_moves_by_the_lowered_rate_too(train_on, tmp_path):
    result = train_on(VALUES, _hook(factor=0.5, patience=2, samples_in_train=20), steps=60, log_dir=tmp_path)
    # an evaluation each 10 steps, of which `train_on` gives the value of the last 2: 0.5, then 0.2 for ever
    weight = tf.train.load_checkpoint(result.checkpoint).get_tensor("weight")
    assert weight == -(40 * 1.0 + 20 * 0.5)


def test_a_schedule_goes_on_and_is_multiplied(train_on, tmp_path):
    """Rates of 1, 0.9, 0.8, ... by the schedule; halved from step 6, the end of the first plateau, on."""

    def optimizer_fn():
        step = tf.compat.v1.train.get_global_step()
        rate = tf.compat.v1.train.polynomial_decay(1.0, step, 10, end_learning_rate=0.0)
        return tf.compat.v1.train.GradientDescentOptimizer(rate)

    rates = []
    hook = _hook(factor=0.5, patience=2, min_lr=0.05)
    result = train_on([0.5] * 9, hook, optimizer_fn=optimizer_fn, rates=rates, steps=9, log_dir=tmp_path)
    expected = [1 - step / 10 for step in range(6)] + [(1 - step / 10) / 2 for step in range(6, 9)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    weight = tf.train.load_checkpoint(result.checkpoint).get_tensor("weight")
    np.testing.assert_allclose(weight, -sum(expected), rtol=1e-5)


def test_a_schedule_of_keras_is_multiplied(train_on):
    def optimizer_fn():
        return keras.optimizers.SGD(keras.optimizers.schedules.PolynomialDecay(1.0, 10, end_learning_rate=0.0))

    rates = []
    train_on([0.5] * 9, _hook(factor=0.5, patience=2), optimizer_fn=optimizer_fn, rates=rates, steps=9)
    expected = [1 - step / 10 for step in range(6)] + [(1 - step / 10) / 2 for step in range(6, 9)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_it_says_what_it_does_and_stops_after_so_many_plateaus(train_on, said):
    result = train_on(
        [0.5] * 20, _hook(patience=1, cooldown=1, plateaus_before_stop=3, min_lr=0.05, prefix="[Plateaus]")
    )
    assert said.starting("[Plateaus]") == [
        "INFO:tensorflow:[Plateaus] step: 1 loss: 0.500",
        "INFO:tensorflow:[Plateaus] step: 3 loss: 0.500",
        "INFO:tensorflow:[Plateaus] plateau 1 of 3 at step 3: the learning rate goes from 1 to 0.1",
        "INFO:tensorflow:[Plateaus] step: 5 loss: 0.500",
        "INFO:tensorflow:[Plateaus] plateau 2 of 3 at step 5: the learning rate goes from 0.1 to 0.05",
        "INFO:tensorflow:[Plateaus] step: 7 loss: 0.500",
        "INFO:tensorflow:[Plateaus] training stops: loss is no better for 3 plateaus, its best is 0.500 of step 1.",
    ]
    assert (result.stopped_by, result.steps) == ("PlateauLREarlyStoppingHook", 8)


def test_at_min_lr_plateaus_count_on(train_on, said):
    train_on([0.5] * 20, _hook(patience=1, plateaus_before_stop=3, min_lr=1.0))
    assert said.starting("[PlateauLREarlyStopping] plateau")[1] == (
        "INFO:tensorflow:[PlateauLREarlyStopping] plateau 2 of 3 at step 5: the learning rate stays 1, which is not "
        "above min_lr"
    )


@pytest.mark.parametrize("interrupted_at", [6, 7, 8])
def test_a_resumed_run_goes_on_with_counts_and_rate(train_on, tmp_path, interrupted_at):
    """Patience 2, evaluations 0.5 and no better: plateaus after steps 5, 9, 13."""
    hook = _hook(patience=2, factor=0.5, plateaus_before_stop=3)
    train_on([0.5] * 20, hook, steps=interrupted_at, log_dir=tmp_path)
    rates = []
    result = train_on([0.5] * 20, hook, rates=rates, log_dir=tmp_path)
    assert (result.stopped_by, result.global_step) == ("PlateauLREarlyStoppingHook", 14)
    assert rates == [0.5] * (10 - interrupted_at) + [0.25] * 4
    saved = tf.train.load_checkpoint(result.checkpoint)
    assert saved.get_tensor("weight") == -(6 + 4 * 0.5 + 4 * 0.25)
    assert saved.get_tensor("hooks/PlateauLREarlyStoppingHook/plateaus") == 3


def test_what_has_stopped_stops_again_at_once(train_on, said, tmp_path):
    hook = _hook(patience=1, plateaus_before_stop=1)
    train_on([0.5] * 9, hook, log_dir=tmp_path)
    again = train_on([0.5] * 9, hook, log_dir=tmp_path)
    assert (again.stopped_by, again.steps) == ("PlateauLREarlyStoppingHook", 0)
    assert said.starting("[PlateauLREarlyStopping] training was stopped before: ")[0].endswith(
        "To go on, allow more plateaus, or leave it out."
    )


def test_a_new_run_from_checkpoint_path_begins_with_the_full_rate(train_on, tmp_path):
    train_on([0.5] * 9, _hook(patience=1), steps=6, log_dir=tmp_path)
    rates = []
    train_on([0.5] * 9, _hook(patience=1), steps=8, rates=rates, checkpoint_path=tmp_path)
    assert rates == [1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"factor": 1.0}, "factor of PlateauLREarlyStoppingHook is 1.0; it must be above 0 and below 1."),
        ({"cooldown": -1}, "cooldown of PlateauLREarlyStoppingHook is -1; it must be 0 or more."),
        ({"min_lr": -0.1}, "min_lr of PlateauLREarlyStoppingHook is -0.1; it must be 0 or more."),
        (
            {"plateaus_before_stop": 0},
            "plateaus_before_stop of PlateauLREarlyStoppingHook is 0; it must be 1 or more.",
        ),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, text):
    with pytest.raises(mox.UsageError) as refusal:
        mox.PlateauLREarlyStoppingHook({"loss": 1.0}, "loss", **SCHEDULE | options)
    assert str(refusal.value) == text
