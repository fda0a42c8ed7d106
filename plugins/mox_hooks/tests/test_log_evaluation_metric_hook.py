"""`LogEvaluationMetricHook`: the schedule and the line of the manual's chapter 4.5.2, and means worked out by hand."""

import logging
import re

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

VALIDATION = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], np.float32)


@pytest.fixture
def said():
    class Lines(logging.Handler):
        def __init__(self):
            super().__init__()
            self.lines = []

        def emit(self, record):
            self.lines.append(f"{record.levelname}:{record.name}:{record.getMessage()}")

        def validations(self):
            return [line for line in self.lines if "METRICS]" in line]

        def steps(self):
            return [int(re.search(r"METRICS\] step: (\d+)", line)[1]) for line in self.validations()]

    handler = Lines()
    tf.get_logger().addHandler(handler)
    yield handler
    tf.get_logger().removeHandler(handler)


def _input_fn(mode):
    """One number a sample: zeros to train with, 1 to 7 to validate with."""
    if mode == mox.ModeKeys.TRAIN:
        return tf.data.Dataset.from_tensors(0.0).repeat()
    return tf.data.Dataset.from_tensor_slices(VALIDATION)


def _model_fn(**options):
    """The weight is the number of steps that were done: its gradient is -1, the rate 1."""

    def model_fn(inputs, mode):
        del mode
        (numbers,) = inputs
        weight = tf.compat.v1.get_variable("weight", initializer=0.0)
        loss = -weight + 0.0 * tf.reduce_mean(numbers)
        spec = {
            "monitor_info": {"weight": 1.0 * weight, "mean": tf.reduce_mean(numbers), "most": tf.reduce_max(numbers)},
            "batch_size": 32,
            "samples_in_train": 1000,
            "samples_in_eval": 100,
        }
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, hooks=[mox.LogEvaluationMetricHook(**spec | options)])

    return model_fn


def _train(model_fn, *, steps, **options):
    return mox.run(
        **{
            "input_fn": _input_fn,
            "model_fn": model_fn,
            "optimizer_fn": lambda: tf.compat.v1.train.GradientDescentOptimizer(1.0),
            "run_mode": mox.ModeKeys.TRAIN,
            "inter_mode": mox.ModeKeys.EVAL,
            "batch_size": 32,
            "max_number_of_steps": steps,
            **options,
        }
    )


# Steps between two evaluations are ceil(samples_in_train * epochs / batch_size); the first follows step n - 1.
@pytest.mark.parametrize(
    ("samples", "batch_size", "epochs", "steps", "expected"),
    [
        (1000, 32, 1, 100, [31, 63, 95]),  # the manual's chapter 4.5.2
        (640, 32, 1, 80, [19, 39, 59, 79]),  # its chapter 4.5.3
        (640, 32, 0.25, 12, [4, 9]),  # a quarter of an epoch: 5 steps
        (1000, 32, 0.5, 40, [15, 31]),  # 15.625, so 16
        (640, 32, 2, 100, [39, 79]),
        (1100, 10, 1.1, 250, [120, 241]),  # 121 steps, though 1100 * 1.1 is 1210.0000000000002
        (10, 32, 0.1, 3, [0, 1, 2]),  # less than a step: each
        (64, 32, 1, 1, []),
    ],
)
def test_evaluations_follow_the_manuals_schedule(said, samples, batch_size, epochs, steps, expected):
    model_fn = _model_fn(batch_size=batch_size, samples_in_train=samples, evaluate_every_n_epochs=epochs)
    _train(model_fn, steps=steps, batch_size=batch_size)
    assert said.steps() == expected


def test_the_line_is_the_manuals_to_the_character_with_means_weighted_by_samples(said):
    """By hand: batches (1 2 3 4 5) and (6 7); means 3 and 6.5 give 28 / 7; maxima 5 and 7 give (25 + 14) / 7."""
    model_fn = _model_fn(batch_size=5, samples_in_train=10, samples_in_eval=7, prefix="[MY METRICS]")
    _train(model_fn, steps=4, batch_size=5)
    assert said.validations() == [
        "INFO:tensorflow:[MY METRICS] step: 1 weight: 2.000 mean: 4.000 most: 5.571",
        "INFO:tensorflow:[MY METRICS] step: 3 weight: 4.000 mean: 4.000 most: 5.571",
    ]


@pytest.mark.parametrize(
    ("samples_in_eval", "mean"),
    [
        (2, "1.500"),  # one batch: 1 2
        (3, "2.500"),  # two batches, ceil(3 / 2): 1 2 3 4
        (7, "4.000"),  # all
        (1000, "4.000"),  # all there are
    ],
)
def test_an_evaluation_goes_through_so_many_batches(said, samples_in_eval, mean):
    _train(_model_fn(batch_size=2, samples_in_train=2, samples_in_eval=samples_in_eval), steps=2, batch_size=2)
    assert [re.search(r"mean: (\S+)", line)[1] for line in said.validations()] == [mean, mean]


def test_an_input_without_end_is_left_after_samples_in_eval(said):
    def input_fn(mode):
        dataset = _input_fn(mode)
        return dataset if mode == mox.ModeKeys.TRAIN else dataset.repeat()

    model_fn = _model_fn(batch_size=4, samples_in_train=8, samples_in_eval=8)
    _train(model_fn, steps=4, batch_size=4, input_fn=input_fn)
    # 1 2 3 4 and 5 6 7 1, each time from the beginning: 29 / 8, and maxima (4 + 7) / 2
    assert [line.partition("mean")[2] for line in said.validations()] == [": 3.625 most: 5.500"] * 2


def test_lines_stand_between_those_of_the_training(said):
    _train(_model_fn(), steps=70)
    order = [re.search(r"step: (\d+)", line)[1] for line in said.lines if "step: " in line]
    assert order == ["0", "10", "20", "30", "31", "40", "50", "60", "63"]


def test_a_resumed_run_keeps_the_schedule_and_the_weights(said, tmp_path):
    model_fn = _model_fn(batch_size=4, samples_in_train=40)  # every 10 steps
    _train(model_fn, steps=14, batch_size=4, log_dir=tmp_path)
    _train(model_fn, steps=33, batch_size=4, log_dir=tmp_path)
    assert [line.partition("[VALIDATION METRICS] ")[2].partition(" mean")[0] for line in said.validations()] == [
        "step: 9 weight: 10.000",
        "step: 19 weight: 20.000",
        "step: 29 weight: 30.000",
    ]


def test_two_hooks_have_schedules_and_values_of_their_own(said):
    def model_fn(inputs, mode):
        spec = _model_fn()(inputs, mode)
        hooks = [
            mox.LogEvaluationMetricHook({"least": tf.reduce_min(inputs[0])}, 7, 14, 7, prefix="[A METRICS]"),
            mox.LogEvaluationMetricHook({"most": tf.reduce_max(inputs[0])}, 7, 21, 7, prefix="[B METRICS]"),
        ]
        return mox.ModelSpec(loss=spec.loss, hooks=hooks)

    _train(model_fn, steps=6, batch_size=7)
    assert said.validations() == [
        "INFO:tensorflow:[A METRICS] step: 1 least: 1.000",
        "INFO:tensorflow:[B METRICS] step: 2 most: 7.000",
        "INFO:tensorflow:[A METRICS] step: 3 least: 1.000",
        "INFO:tensorflow:[A METRICS] step: 5 least: 1.000",
        "INFO:tensorflow:[B METRICS] step: 5 most: 7.000",
    ]


def test_it_does_nothing_in_a_run_that_evaluates(said, tmp_path):
    _train(_model_fn(), steps=2, log_dir=tmp_path)
    mox.run(
        input_fn=_input_fn,
        model_fn=_model_fn(samples_in_train=1, batch_size=1),
        run_mode=mox.ModeKeys.EVAL,
        batch_size=2,
        checkpoint_path=tmp_path,
    )
    assert said.validations() == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"monitor_info": {}}, "monitor_info of LogEvaluationMetricHook is {}; give names and scalar tensors."),
        ({"batch_size": 0}, "batch_size of LogEvaluationMetricHook is 0; it must be above 0."),
        ({"samples_in_train": -1}, "samples_in_train of LogEvaluationMetricHook is -1; it must be above 0."),
        ({"samples_in_eval": 0}, "samples_in_eval of LogEvaluationMetricHook is 0; it must be above 0."),
        (
            {"evaluate_every_n_epochs": float("nan")},
            "evaluate_every_n_epochs of LogEvaluationMetricHook is nan; it must be above 0.",
        ),
    ],
)
def test_numbers_that_cannot_be_are_refused(options, text):
    good = {"monitor_info": {"loss": 1.0}, "batch_size": 2, "samples_in_train": 4, "samples_in_eval": 4}
    with pytest.raises(mox.UsageError) as refusal:
        mox.LogEvaluationMetricHook(**good | options)
    assert str(refusal.value) == text


def test_two_hooks_that_measure_one_name_over_different_samples_are_told(said):
    """By hand: the means of 1 to 7, and of 1 to 5; the weight is the same in both."""

    def model_fn(inputs, mode):
        del mode
        weight = tf.compat.v1.get_variable("weight", initializer=0.0)
        loss = -weight + 0.0 * tf.reduce_mean(inputs[0])
        info = {"mean": tf.reduce_mean(inputs[0]), "weight": 1.0 * weight}
        hooks = [mox.LogEvaluationMetricHook(info, 5, 10, samples) for samples in (7, 5)]
        return mox.ModelSpec(loss=loss, hooks=hooks)

    result = _train(model_fn, steps=4, batch_size=5)
    assert [record["mean"] for record in result.history.of("VALIDATION")] == [4.0, 4.0]
    (warning,) = (line for line in said.lines if "two hooks" in line)
    assert warning == (
        "WARNING:tensorflow:two hooks give 'mean' different values at step 1, of other samples or other tensors: the "
        "history and the summaries keep the first. Give them other names in monitor_info."
    )
