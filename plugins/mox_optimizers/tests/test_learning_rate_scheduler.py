"""`learning_rate_scheduler`: values at every kind of place, against calculation by hand and in NumPy."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_optimizers import learning_rate_scheduler

SAMPLE = "5:0.1->0.4,10:0.4=>0.8,15:0.8,20:0.08"


def values(rate, steps):
    return [float(rate(step)) for step in steps]


def train(log_dir, steps, optimizer_fn, **options):
    """Train a weight with gradient 1: it goes by the learning rate in each step."""

    def model_fn(inputs, mode):
        del mode
        loss = tf.compat.v1.get_variable("w", initializer=0.0) * tf.reduce_mean(inputs[0])
        return mox.ModelSpec(loss=loss, log_info={"loss": loss})

    return mox.run(
        input_fn=lambda mode: tf.constant(1.0),  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=optimizer_fn,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        log_dir=log_dir,
        max_number_of_steps=steps,
        log_every_n_steps=100,
        **options,
    )


def weight(result):
    return tf.train.load_checkpoint(result.checkpoint).get_tensor("w")


def logged_rates(log_dir):
    """The learning rate by step, as TensorBoard reads it."""
    found = {}
    for path in sorted(log_dir.glob("events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag == "learning_rate":
                    found[event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_it_is_a_module_on_mox_and_one_to_import():
    assert mox.learning_rate_scheduler is learning_rate_scheduler


def test_the_stages_of_the_sample_have_their_values():
    rate = learning_rate_scheduler.piecewise_lr(SAMPLE, num_samples=100, global_batch_size=10)
    # Ten steps an epoch; a stage ends just before its END_EPOCH.
    at_epoch = {
        0: 0.1,
        1: 0.16,
        2.5: 0.25,
        4.9: 0.1 + 0.3 * 49 / 50,
        5: 0.4,
        7.5: 0.4 * math.sqrt(2),
        9.9: 0.4 * 2 ** (49 / 50),
        10: 0.8,
        14.9: 0.8,
        15: 0.08,
        19.9: 0.08,
        20: 0.08,
        1000: 0.08,
    }
    steps = [round(epoch * 10) for epoch in at_epoch]
    np.testing.assert_allclose(values(rate, steps), list(at_epoch.values()), rtol=1e-6)


def test_a_slope_at_the_end_stays_where_it_has_come_to():
    linear = learning_rate_scheduler.piecewise_lr("2:0.1->0.3", 10, 5)
    np.testing.assert_allclose(values(linear, range(6)), [0.1, 0.15, 0.2, 0.25, 0.3, 0.3], rtol=1e-6)
    exponential = learning_rate_scheduler.piecewise_lr("2:0.1=>0.0001", 10, 5)
    np.testing.assert_allclose(
        values(exponential, [0, 2, 4, 9]), [0.1, math.sqrt(0.1 * 0.0001), 0.0001, 0.0001], rtol=1e-6
    )


def test_epochs_may_end_between_two_steps_and_be_fractions():
    # 7 samples an epoch, 2 a step: epoch 1.5 is 10.5 samples, between steps 5 and 6.
    rate = learning_rate_scheduler.piecewise_lr("1.5:1,2:2->3,.25e1:4", 7, 2)
    np.testing.assert_allclose(values(rate, [0, 5, 6, 7, 8, 9]), [1, 1, 2 + 1.5 / 3.5, 4, 4, 4], rtol=1e-6)


@pytest.mark.parametrize("tenths", range(1, 30))
def test_a_stage_begins_at_the_very_step_though_a_tenth_is_no_binary_number(tenths):
    rate = learning_rate_scheduler.piecewise_lr(f"{tenths / 10}:1,100:2", 10, 1)
    assert values(rate, [tenths - 1, tenths]) == [1, 2]


def test_steps_of_long_trainings_are_counted_right():
    # More samples than float32 and int32 can tell apart.
    rate = learning_rate_scheduler.piecewise_lr("4000:1,4001:2", 1_281_167, 1)
    border = 4000 * 1_281_167
    assert values(rate, [border - 1, border]) == [1, 2]


def test_blanks_may_stand_between_the_parts():
    spaced = " 5 : 0.1 -> 0.4 ,\n 10:0.4  =>0.8,\t15: 0.8,20 :0.08 "
    one, other = (learning_rate_scheduler.piecewise_lr(text, 100, 10) for text in (SAMPLE, spaced))
    steps = range(0, 250, 7)
    assert values(one, steps) == values(other, steps)


def test_numbers_may_be_numpys():
    rate = learning_rate_scheduler.piecewise_lr("1:1,2:2", np.int64(10), np.int32(5))
    assert values(rate, np.arange(3)) == [1, 1, 2]
    decay = learning_rate_scheduler.linear_cosine_decay(np.float32(1), np.float32(0), np.int64(5), np.int64(10), 0, 1)
    assert float(decay) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("strategy", "what", "place"),
    [
        ("", "expected the epoch at which a stage ends", ""),
        ("0.002", "expected ':' and the learning rate of the stage", "     "),
        ("5:0.1,", "expected the epoch at which a stage ends", "      "),
        ("5:0.1,,9:0.2", "expected the epoch at which a stage ends", "      "),
        ("5:", "expected a learning rate", "  "),
        ("5:x", "expected a learning rate", "  "),
        ("5:0.1-0.4", "expected ',' and the next stage, or the end", "     "),
        ("5: 0.1 0.4", "expected ',' and the next stage, or the end", "       "),
        ("5:0.1->", "expected a learning rate behind '->'", "       "),
        ("5:0.1->0.2->0.3", "expected ',' and the next stage, or the end", "          "),
        ("0:0.1", "a stage ends at epoch 0; it must be higher than 0", ""),
        ("5:0.1, 5:0.2", "a stage ends at epoch 5; it must be higher than 5, where it begins", "       "),
        ("5:0.1,2.5:0.2", "a stage ends at epoch 2.5; it must be higher than 5, where it begins", "      "),
        ("5:-0.1", "a learning rate must be 0 or more", "  "),
        ("5:0.1->-0.1", "a learning rate must be 0 or more", "       "),
        (
            "5:0=>0.1",
            "'=>' goes by equal factors, and gets neither from 0 nor to 0: use '->', or a small number",
            "  ",
        ),
        (
            "5:0.1\n=>0",
            "'=>' goes by equal factors, and gets neither from 0 nor to 0: use '->', or a small number",
            "        ",
        ),
    ],
)
def test_what_cannot_be_read_is_shown_with_a_caret_under_its_place(strategy, what, place):
    with pytest.raises(mox.UsageError) as refusal:
        learning_rate_scheduler.piecewise_lr(strategy, 100, 10)
    assert str(refusal.value) == (
        f"lr_strategy: {what}.\n  {strategy}\n".replace("\n=", " =")
        + f"  {place}^\n"
        + "Stages are END_EPOCH:LR, END_EPOCH:LR->LR (linear) or END_EPOCH:LR=>LR (exponential), with ',' between."
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0.1, 100, 10), "lr_strategy is 0.1; it must be a text like '5:0.1->0.4,10:0.4=>0.8,20:0.08'."),
        (("5:0.1", 0, 10), "num_samples is 0; it must be a whole number, 1 or more."),
        (("5:0.1", 100, 2.5), "global_batch_size is 2.5; it must be a whole number, 1 or more."),
    ],
)
def test_other_arguments_are_refused_by_name(arguments, words):
    with pytest.raises(mox.UsageError) as refusal:
        learning_rate_scheduler.piecewise_lr(*arguments)
    assert str(refusal.value) == words


def warmed(height):
    """200 steps, of which 20 are warmup, and 180 are over at the end; `height` of the part that is done."""

    def rate(step):
        if step < 20:
            return 0.01 + 0.99 * step / 20
        return 0.01 + 0.99 * height(min(1.0, (step - 20) / 160))

    return rate


DECAYS = {
    "linear_cosine_decay": warmed(lambda part: (1 + math.cos(math.pi * part)) / 2),
    "polynomial_decay": warmed(lambda part: (1 - part) ** 2),
}


@pytest.mark.parametrize("name", DECAYS)
def test_decays_follow_their_formula(name):
    decay = getattr(learning_rate_scheduler, name)
    steps = [0, 1, 10, 19, 20, 21, 60, 100, 140, 179, 180, 181, 199, 200, 10_000]
    found = [float(decay(1.0, 0.01, step, 200, 0.1, 0.9)) for step in steps]
    np.testing.assert_allclose(found, [DECAYS[name](step) for step in steps], rtol=1e-6)


def test_decays_have_their_known_values_at_the_borders_and_in_the_middle():
    cosine, polynomial = (getattr(learning_rate_scheduler, name) for name in DECAYS)
    for decay, middle in ((cosine, 0.505), (polynomial, 0.2575)):
        found = [float(decay(1.0, 0.01, step, 200, 0.1, 0.9)) for step in (0, 10, 20, 100, 180, 200)]
        np.testing.assert_allclose(found, [0.01, 0.505, 1.0, middle, 0.01, 0.01], rtol=1e-6)
        # Without warmup it begins at the top.
        assert [float(decay(0.4, 0, step, 10, 0, 1)) for step in (0, 10)] == pytest.approx([0.4, 0])


PARTS = "they must be parts of max_step, warmup below decay_end and decay_end at most 1."
NO_STEP = (
    "global_step is None: there is none outside of optimizer_fn. Call this inside it, or write "
    "learning_rate=lambda step: ... with step in its place."
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_lr": -1}, "max_lr is -1; it must be a number, 0 or more."),
        ({"min_lr": "0"}, "min_lr is '0'; it must be a number, 0 or more."),
        ({"min_lr": 2.0}, "min_lr is 2.0 and max_lr 1.0; min_lr must not be the higher one."),
        ({"max_step": 0}, "max_step is 0; it must be a whole number, 1 or more."),
        ({"warmup": 0.9}, f"warmup is 0.9 and decay_end 0.9; {PARTS}"),
        ({"decay_end": 180}, f"warmup is 0.1 and decay_end 180; {PARTS}"),
        ({"global_step": None}, NO_STEP),
    ],
)
@pytest.mark.parametrize("name", DECAYS)
def test_arguments_of_decays_are_refused_by_name(name, changes, words):
    arguments = {"max_lr": 1.0, "min_lr": 0.01, "global_step": 0, "max_step": 200, "warmup": 0.1, "decay_end": 0.9}
    with pytest.raises(mox.UsageError) as refusal:
        getattr(learning_rate_scheduler, name)(**arguments | changes)
    assert str(refusal.value) == words


# 4 samples an epoch, 1 a step: steps 0 to 3 are the first stage.
RATES = [0.5, 0.5, 0.5, 0.5, 0.25, 0.25 * 2**-0.25, 0.25 * 2**-0.5, 0.25 * 2**-0.75, 0.125, 0.125]


def _piecewise():
    return mox.learning_rate_scheduler.piecewise_lr("1:0.5,2:0.25=>0.125", num_samples=4, global_batch_size=1)


def _cosine(step):
    return mox.learning_rate_scheduler.linear_cosine_decay(1.0, 0.0, step, 10, 0.2, 1.0)


COSINE = [0, 0.5, *[(1 + math.cos(math.pi * done / 8)) / 2 for done in range(8)]]


def _sgd(make_rate):
    return lambda: tf.compat.v1.train.GradientDescentOptimizer(make_rate())


def _made_inside():
    return mox.get_optimizer_fn("sgd", _piecewise())()


# What makes an optimizer_fn, and the rates that are then used.
WAYS = {
    "made outside, for get_optimizer_fn": (lambda: mox.get_optimizer_fn("sgd", learning_rate=_piecewise()), RATES),
    "made inside, for get_optimizer_fn": (lambda: _made_inside, RATES),
    "TF1 optimizer": (lambda: _sgd(_piecewise), RATES),
    "Keras 3 optimizer": (lambda: lambda: keras.optimizers.SGD(_piecewise), RATES),
    "a tensor to calculate with": (lambda: _sgd(lambda: 2 * _piecewise()), [2 * rate for rate in RATES]),
    "decay of a function of the step": (lambda: mox.get_optimizer_fn("sgd", learning_rate=_cosine), COSINE),
    "decay of the global step": (lambda: _sgd(lambda: _cosine(tf.compat.v1.train.get_global_step())), COSINE),
}


@pytest.mark.parametrize("way", WAYS)
def test_training_uses_and_logs_the_rate_of_every_step_and_goes_on_with_it(way, tmp_path):
    make, rates = WAYS[way]
    first = train(tmp_path, 6, make(), save_summary_steps=1)
    np.testing.assert_allclose(weight(first), -sum(rates[:6]), rtol=1e-5)
    second = train(tmp_path, 10, make(), save_summary_steps=1)
    np.testing.assert_allclose(weight(second), -sum(rates), rtol=1e-5)
    logged = logged_rates(tmp_path)
    first_step = min(logged)
    np.testing.assert_allclose([logged[first_step + step] for step in range(10)], rates, rtol=1e-6)
