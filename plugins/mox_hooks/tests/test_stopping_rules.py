"""The rules against the callbacks of the installed Keras, driven with the same values."""

import itertools

import keras
import numpy as np
import pytest

import mox_core as mox
from mox_hooks.rules import EarlyStopping, Plateaus, rises

SEQUENCES = 60
ODD = [[0.5, float("nan"), 0.4, 0.4], [float("nan"), 0.1, 0.2, 0.3], [float("inf"), 1.0, 2.0], [0.6, 0.7, 0.8, 0.8]]


def _sequences(number, length):
    rng = np.random.default_rng(number)
    values = [np.round(rng.normal(0.5, 0.2, length), rng.integers(1, 4)).tolist() for _ in range(number)]
    return values + ODD


@pytest.fixture(scope="module")
def model():
    made = keras.Sequential([keras.Input([1]), keras.layers.Dense(1, use_bias=False)])
    made.compile(keras.optimizers.SGD(0.5), "mse")
    return made


@pytest.mark.parametrize("mode", ["min", "max"])
def test_early_stopping_stops_where_keras_does_and_knows_the_same_best(model, mode):
    choices = itertools.cycle(itertools.product([0, 0.1, 0.01, -0.05], [0, 1, 3], [None, 0.5]))
    ended = set()
    for values, (min_delta, patience, baseline) in zip(_sequences(SEQUENCES, 12), choices, strict=False):
        callback = keras.callbacks.EarlyStopping(
            "value", min_delta=min_delta, patience=patience, mode=mode, baseline=baseline, restore_best_weights=True
        )
        callback.set_model(model)
        callback.on_train_begin()
        model.stop_training = False
        rule = EarlyStopping(rising=mode == "max", min_delta=min_delta, patience=patience, baseline=baseline)
        for epoch, value in enumerate(values):
            model.set_weights([np.full([1, 1], epoch, np.float32)])
            callback.on_epoch_end(epoch, {"value": value})
            rule.see(value, epoch)
            assert rule.stopped == model.stop_training, (values, epoch, min_delta, patience, baseline)
            if rule.stopped:
                break
        callback.on_train_end()
        assert rule.best_step == model.get_weights()[0][0, 0]
        ended.add(epoch)
    assert len(ended) > 4  # the choice is no trivial one


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateaus_end_where_keras_lowers_the_learning_rate(model, mode):
    choices = itertools.cycle(itertools.product([0, 0.1, 0.01], [0, 1, 2, 3], [0, 1, 2]))
    number = 0
    for values, (min_delta, patience, cooldown) in zip(_sequences(SEQUENCES, 20), choices, strict=False):
        callback = keras.callbacks.ReduceLROnPlateau(
            "value", factor=0.5, patience=patience, cooldown=cooldown, min_delta=min_delta, mode=mode
        )
        callback.set_model(model)
        callback.on_train_begin()
        rule = Plateaus(
            rising=mode == "max", min_delta=min_delta, patience=patience, cooldown=cooldown, plateaus_before_stop=99
        )
        for epoch, value in enumerate(values):
            model.optimizer.learning_rate = 0.5
            callback.on_epoch_end(epoch, {"value": value})
            lowered = float(model.optimizer.learning_rate.numpy()) < 0.5
            number += lowered
            assert rule.see(value, epoch) == lowered, (values, epoch, min_delta, patience, cooldown)
    assert number > 50


def test_plateaus_stop_at_a_number_of_them_with_nothing_better_between():
    """By hand, patience 2: 5 5 5 is a first plateau; 4 is better; 4 4 a first one again, then 4 4 a second."""
    rule = Plateaus(rising=False, min_delta=0, patience=2, cooldown=0, plateaus_before_stop=2)
    values = [5, 5, 5, 4, 4, 4, 4, 4]
    assert [rule.see(value, step) for step, value in enumerate(values)] == [0, 0, 1, 0, 0, 1, 0, 1]
    assert (rule.stopped, rule.plateaus, rule.best, rule.best_step) == (True, 2, 4, 3)


@pytest.mark.parametrize("monitor", ["loss", "val_loss"])
def test_the_direction_of_a_loss_is_keras_own(model, monitor):
    callback = keras.callbacks.EarlyStopping(monitor)
    callback.set_model(model)
    callback._set_monitor_op()
    assert callback.monitor_op(1.0, 2.0)  # less is better
    assert not rises(monitor, "auto", "hook")


@pytest.mark.parametrize(
    ("monitor", "rising"),
    [
        ("accuracy", True),
        ("val_accuracy", True),
        ("top5", True),
        ("mean_iou", True),
        ("Precision", True),
        ("AUC", True),
        ("total_loss", False),
        ("cross_entropy", False),
        ("rmse", False),
        ("perplexity", False),
    ],
)
def test_a_name_tells_the_direction(monitor, rising):
    assert rises(monitor, "auto", "hook") == rising
    assert rises(monitor, "min", "hook") is False
    assert rises(monitor, "max", "hook") is True


@pytest.mark.parametrize("monitor", ["score", "stop", "accuracy_loss", "x"])
def test_a_name_that_tells_nothing_is_refused_as_keras_does(monitor):
    with pytest.raises(mox.UsageError) as refusal:
        rises(monitor, "auto", "EarlyStoppingHook")
    assert str(refusal.value) == (
        f"mode of EarlyStoppingHook is 'auto', and whether {monitor!r} is to rise or to fall does not show in its "
        "name: pass mode='max' or mode='min'."
    )
