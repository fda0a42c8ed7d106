"""`mox.auto.search` and `mox.auto.run`: which trainings are made, how they are judged, what is taken.

The values of a training are worked out in NumPy: w goes from START to the numbers 0..7, one in each step.
"""

import re
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

START, STEPS = 10.0, 12


def input_fn(mode):
    numbers = tf.data.Dataset.range(8).map(lambda number: tf.cast(number, tf.float32))
    return numbers.repeat() if mode == mox.ModeKeys.TRAIN else numbers


def model_fn(inputs, mode, *, param_spec=None, log=True):
    """The gradient is w - number, with weight decay; the loss that is logged is without it."""
    del mode
    weight = tf.compat.v1.get_variable("w", initializer=START)
    loss = tf.reduce_mean((weight - inputs[0]) ** 2) / 2
    decay = (param_spec.weight_decay or 0.0) if param_spec else 0.0
    info = {"loss": loss, "accuracy": 1 / (1 + loss)} if log else {"other": loss}
    return mox.ModelSpec(loss=loss + decay * weight**2 / 2, log_info=info)


def optimizer_fn(**kwargs):
    spec = kwargs["param_spec"]
    return tf.compat.v1.train.MomentumOptimizer(spec.learning_rate, spec.momentum or 0.0)


JOB = {
    "input_fn": input_fn,
    "model_fn": model_fn,
    "optimizer_fn": optimizer_fn,
    "batch_size": 1,
    "auto_batch": True,
    "total_steps": STEPS,
    "evaluation_total_steps": 8,
    "by_acc": False,
}
search = partial(mox.auto.search, **JOB)


def losses(rate, momentum=0.0, decay=0.0, *, steps=STEPS, rate_of=None):
    """The loss of each step, and the weight after the last."""
    weight, velocity, found = START, 0.0, []
    for step in range(steps):
        number = step % 8
        found.append((weight - number) ** 2 / 2)
        velocity = momentum * velocity + weight - number + decay * weight
        weight -= (rate_of(step) if rate_of else rate) * velocity
    return found, weight


@pytest.fixture
def trainings(caplog):
    """The trainings of a search in their order: (what is said of them, parameters)."""

    def read():
        lines = filter(None, (re.fullmatch(r"\[auto\] training \d+: (.*)", line) for line in caplog.messages))
        return [(next(lines)[1], parameters[1]) for parameters in lines]

    return read


def shown(value):
    return f"loss {value:.4g}"


def test_one_parameter_after_another_is_tried_and_judged_by_the_last_values(trainings):
    best = search(
        window=4,
        param_spec=mox.auto.ParamSpec(momentum=0.5, learning_rate=0.1),
        param_list_spec=mox.auto.ParamSpec(momentum=[0.5, 0.0, 0.2]),
        init_learning_rate=0.01,
        end_learning_rate=0.1,
    )
    rates = [0.1, 0.01, 0.03162]  # 0.1 is the beginning, and the last one of the range
    value = {
        (rate, momentum): np.mean(losses(rate, momentum)[0][-4:]) for rate in rates for momentum in (0.5, 0.0, 0.2)
    }
    leading = min(rates, key=lambda rate: value[rate, 0.5])
    tried = [(rate, 0.5) for rate in rates] + [(leading, momentum) for momentum in (0.0, 0.2)]
    found = trainings()
    assert [parameters for _, parameters in found] == [f"momentum={m:g}, learning_rate={r:g}" for r, m in tried]
    for (said, _), key in zip(found, tried, strict=True):
        assert said == shown(value[key]) or said.endswith("(given up)")
    assert (best.learning_rate, best.momentum) == min(tried, key=value.get)


def test_every_combination_is_trained_and_judged_by_an_evaluation(trainings):
    best = search(
        select_by_eval=True,
        search_learning_rate=False,
        param_spec=mox.auto.ParamSpec(momentum=0.0, learning_rate=0.1),
        param_list_spec=mox.auto.ParamSpec(momentum=[0.5, 0.0], learning_rate=[0.2, 0.1]),
    )
    tried = [(0.1, 0.0), (0.1, 0.5), (0.2, 0.5), (0.2, 0.0)]  # what was tried is not tried again
    value = {key: np.mean((losses(*key)[1] - np.arange(8)) ** 2 / 2) for key in tried}
    assert trainings() == [(shown(value[r, m]), f"momentum={m:g}, learning_rate={r:g}") for r, m in tried]
    assert (best.learning_rate, best.momentum) == min(tried, key=value.get)


def test_the_highest_accuracy_is_the_best(trainings):
    best = search(by_acc=True, model_size=mox.auto.ModelSize.LARGE, init_learning_rate=0.001, end_learning_rate=0.1)
    rates = [0.01, 0.001, 0.1]  # begins in the middle
    value = {rate: np.mean([1 / (1 + loss) for loss in losses(rate)[0]]) for rate in rates}
    assert [said for said, _ in trainings()] == [f"accuracy {value[rate]:.4g}" for rate in rates]
    assert best == mox.auto.ParamSpec(learning_rate=0.1)


def test_a_training_that_diverges_is_never_taken_and_one_that_is_behind_is_given_up(trainings):
    options = {"search_learning_rate": False, "param_spec": mox.auto.ParamSpec(learning_rate=0.1)}
    rates = [0.05, 0.2, 1e-5, 1e30]
    best = search(param_list_spec=mox.auto.ParamSpec(learning_rate=rates), **options)
    said = [said for said, _ in trainings()]
    # Rates go from low to high; none is given up before two are there to compare with, and half of the steps are done.
    assert said[1:3] == [shown(np.mean(losses(rate)[0])) for rate in (1e-5, 0.05)]
    assert said[4] == "diverged"
    assert best.learning_rate in {0.05, 0.1, 0.2}
    slow = search(param_list_spec=mox.auto.ParamSpec(momentum=[0.1, 0.2, 0.99]), **options)
    assert trainings()[-1][0] == f"{shown(np.mean(losses(0.1, 0.99, steps=7)[0]))} (given up)"
    assert slow.momentum != 0.99


def test_after_so_many_rates_without_a_better_one_higher_ones_are_left_out(trainings):
    rates = [0.01, 0.02, 0.03, 0.04]
    search(
        max_thres=2,
        search_learning_rate=False,
        param_spec=mox.auto.ParamSpec(learning_rate=0.1),
        param_list_spec=mox.auto.ParamSpec(learning_rate=rates),
    )
    assert [parameters for _, parameters in trainings()] == [f"learning_rate={r:g}" for r in (0.1, 0.01, 0.02)]


@pytest.mark.parametrize(("threshold", "taken"), [(0.05, 0.01), (0.0, 0.0001)])
def test_of_weight_decays_that_do_as_well_the_largest_is_taken(threshold, taken):
    start = mox.auto.ParamSpec(learning_rate=0.01, weight_decay=0.0001)
    options = {"param_spec": start, "search_learning_rate": False}
    decays = [0.0001, 0.01, 3.0]
    value = {decay: np.mean(losses(0.01, 0.0, -decay)[0]) for decay in decays}
    assert value[0.0001] < value[0.01] < value[0.0001] * 1.05 < value[3.0]  # of negative decays: w has to fall

    def growing(inputs, mode, param_spec):
        return model_fn(inputs, mode, param_spec=mox.auto.ParamSpec(weight_decay=-param_spec.weight_decay))

    best = search(
        model_fn=growing,
        weight_decay_diff_thres=threshold,
        param_list_spec=mox.auto.ParamSpec(weight_decay=decays),
        **options,
    )
    assert best.weight_decay == taken


def test_the_first_steps_have_the_rate_of_the_warmup(trainings):
    search(
        search_learning_rate=False,
        warmup_steps=5,
        warmup_lr=0.5,
        param_spec=mox.auto.ParamSpec(learning_rate=0.01),
    )
    expected, _ = losses(0, rate_of=lambda step: 0.5 if step < 5 else 0.01)
    assert trainings() == [(shown(np.mean(expected)), "learning_rate=0.01")]


def _random_model_fn(inputs, mode):
    del mode
    loss = tf.reduce_mean((keras.layers.Dense(1)(inputs[0][:, None]) - tf.random.normal([1, 1])) ** 2)
    return mox.ModelSpec(loss=loss, log_info={"loss": loss})


def test_a_search_with_a_seed_is_the_same_again_and_all_trainings_begin_alike_without(caplog):
    options = {"model_fn": _random_model_fn, "init_learning_rate": 0.001, "end_learning_rate": 0.01}
    found = []
    try:
        for _ in range(2):
            tf.random.set_seed(3)
            caplog.clear()
            search(**options)
            found.append([line for line in map(str, caplog.messages) if line.startswith("[auto]")])
    finally:
        tf.compat.v1.random.set_random_seed(None)
    assert found[0] == found[1]
    caplog.clear()
    search(**options)
    first = {line.split("loss: ")[1] for line in caplog.messages if line.startswith("step: 0")}
    assert len(first) == 1
    assert tf.compat.v1.random.get_seed(None)[0] is None


@pytest.mark.parametrize(("numbers", "count"), [(10, 3), (10_000_000, 2)])
def test_a_large_model_has_fewer_rates(numbers, count, trainings):
    def wide_fn(inputs, mode):  # noqa: ARG001
        weights = tf.compat.v1.get_variable("weights", [numbers])
        return mox.ModelSpec(loss=tf.reduce_mean((weights[0] - inputs[0]) ** 2), log_info={})

    options = {"init_learning_rate": 0.01, "end_learning_rate": 0.1, "total_steps": 1}
    search(model_fn=wide_fn, param_spec=mox.auto.ParamSpec(learning_rate=0.1), **options)
    assert len(trainings()) == count


def test_metrics_of_keras_and_hooks_of_the_inter_mode_may_stay_in_model_fn(trainings):
    def with_metric(inputs, mode):
        spec = model_fn(inputs, mode)
        mean = keras.metrics.Mean(name="seen")
        mean.update_state(inputs[0])
        hook = mox.LogEvaluationMetricHook(
            monitor_info=spec.log_info, batch_size=1, samples_in_train=8, samples_in_eval=8, evaluate_every_n_epochs=1
        )
        return mox.ModelSpec(loss=spec.loss, log_info={"accuracy": mean}, hooks=[hook])

    options = {"search_learning_rate": False, "param_spec": mox.auto.ParamSpec(learning_rate=0.1)}
    search(by_acc=True, model_fn=with_metric, log_every_n_steps=100, **options)
    since_the_first_line = np.arange(1, STEPS) % 8
    assert [said for said, _ in trainings()] == [f"accuracy {np.mean(since_the_first_line):.4g}"]


def test_run_gives_the_parameters_to_functions_that_take_them():
    seen = []

    def taking_fn(inputs, mode, param_spec):
        seen.append(param_spec)
        return model_fn(inputs, mode)

    spec = mox.auto.ParamSpec(momentum=0.5, learning_rate=0.125)
    result = mox.auto.run(
        input_fn,
        model_fn=taking_fn,
        optimizer_fn=[optimizer_fn],
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        max_number_of_steps=3,
        log_every_n_steps=1,
        param_spec=spec,
    )
    assert seen == [spec]
    assert result.metrics["loss"] == pytest.approx(losses(0.125, 0.5)[0][2])
    plain = mox.auto.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=mox.get_optimizer_fn("sgd", 0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        max_number_of_steps=1,
        param_spec=spec,
    )
    assert plain.steps == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"param_spec": {"momentum": 0.9}},
            "param_spec is {'momentum': 0.9}; write mox.auto.ParamSpec(learning_rate=...",
        ),
        ({"param_list_spec": [0.1]}, "param_list_spec is [0.1]; write mox.auto.ParamSpec("),
        (
            {"param_list_spec": mox.auto.ParamSpec(momentum=0.9)},
            "momentum of param_list_spec is 0.9; it must be a list of numbers, or None.",
        ),
        (
            {"optimizer_fn": lambda: None, "model_fn": lambda inputs, _: inputs},
            "mox.auto.search: neither model_fn nor ",
        ),
        ({"total_steps": 0}, "total_steps is 0; it must be a whole number, 1 or more."),
        ({"warmup_steps": -1}, "warmup_steps is -1; it must be a whole number, 0 or more."),
        (
            {"warmup_steps": 1, "search_learning_rate": False},
            "warmup_steps goes with a learning rate: give param_spec one.",
        ),
        ({"model_size": "big"}, "model_size is 'big'; it must be mox.auto.ModelSize.SMALL or LARGE, or None."),
        ({"init_learning_rate": 0}, "init_learning_rate is 0; it must be a number above 0."),
        (
            {"init_learning_rate": 0.1, "end_learning_rate": 0.01},
            "learning rates are searched from 0.1 to 0.01; the first must be the lower one.",
        ),
        ({"weight_decay_diff_thres": None}, "weight_decay_diff_thres is None; it must be a number, 0 or more."),
        (
            {"by_acc": True, "model_fn": partial(model_fn, log=False)},
            "mox.auto.search judges by 'accuracy', which log_info of model_fn has not: it has 'other'. Pass",
        ),
        (
            {"param_spec": mox.auto.ParamSpec(learning_rate=1e30), "search_learning_rate": False},
            "mox.auto.search: no training ended with a finite value. Try lower learning rates: ",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_in_words(options, words):
    with pytest.raises(mox.UsageError) as refusal:
        search(**options)
    assert str(refusal.value).startswith(words)


def test_a_loss_that_is_not_logged_is_judged_all_the_same(trainings):
    spec = mox.auto.ParamSpec(learning_rate=0.1)
    search(model_fn=partial(model_fn, log=False), search_learning_rate=False, param_spec=spec)
    assert trainings() == [(shown(np.mean(losses(0.1)[0])), "learning_rate=0.1")]
