"""`EarlyStoppingHook` (the manual's chapter 4.5.3) in real runs; its rule is compared with Keras's elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from checkpoints import values_of

SCHEDULE = {"batch_size": 2, "samples_in_train": 4, "samples_in_eval": 4}

STOPS = "INFO:tensorflow:[EarlyStopping] training stops: "
STOPPED = "INFO:tensorflow:[EarlyStopping] training was stopped before: "


def _hook(**options):
    return lambda value: mox.EarlyStoppingHook({"accuracy": value}, "accuracy", **SCHEDULE | options)


def test_the_example_of_the_manual_stops_at_its_fourth_evaluation(train_on, said):
    hook = _hook(samples_in_train=40, min_delta=0.01, patience=3)  # every 20 steps, as 640 samples in batches of 32
    result = train_on([0.0] * 50, hook, steps=10000)
    assert said.starting("[EarlyStopping]") == [
        "INFO:tensorflow:[EarlyStopping] step: 19 accuracy: 0.000",
        "INFO:tensorflow:[EarlyStopping] step: 39 accuracy: 0.000",
        "INFO:tensorflow:[EarlyStopping] step: 59 accuracy: 0.000",
        "INFO:tensorflow:[EarlyStopping] step: 79 accuracy: 0.000",
        STOPS + "accuracy is no better for 3 evaluations, its best is 0.000 of step 19.",
    ]
    assert (result.stopped_by, result.steps) == ("EarlyStoppingHook", 80)
    assert said.lines[-1] == "INFO:tensorflow:Training stops at global step 80: EarlyStoppingHook asked for it."


def test_a_rising_value_never_stops(train_on):
    result = train_on(np.arange(10) / 10, _hook(), steps=20)
    assert (result.stopped_by, result.steps) == ("max_number_of_steps", 20)


@pytest.mark.parametrize("interrupted_at", [3, 4, 6, 7])
def test_a_resumed_run_goes_on_with_the_count(train_on, said, tmp_path, interrupted_at):
    """Best at step 3 (0.9), no better at 5, 7, 9: with patience 3 it stops after step 9, however it was cut up."""
    values = [0.5, 0.9, 0.8, 0.9, 0.7, 0.95, 0.99]
    train_on(values, _hook(patience=3), steps=interrupted_at, log_dir=tmp_path)
    result = train_on(values, _hook(patience=3), log_dir=tmp_path)
    assert (result.stopped_by, result.global_step) == ("EarlyStoppingHook", 10)
    saved = values_of(result.checkpoint)
    state = {
        name.rpartition("/")[2]: value for name, value in saved.items() if name.startswith("hooks/EarlyStoppingHook/")
    }
    assert state == {
        "evaluations": 5,
        "best": pytest.approx(0.9),
        "best_step": 3,
        "wait": 3,
        "stopped": True,
    }
    assert [line[-30:] for line in said.starting("[EarlyStopping] step")] == [
        f"topping] step: {2 * n + 1} accuracy: {values[n]:.3f}"[-30:] for n in range(5)
    ]


def test_a_checkpoint_of_the_step_of_an_evaluation_knows_it(train_on, tmp_path):
    train_on([0.5, 0.4, 0.3], _hook(patience=9), steps=4, save_model_steps=2, log_dir=tmp_path)
    for step, expected in ((0, (0, 0)), (2, (1, 0)), (4, (2, 1))):
        saved = values_of(tmp_path / f"model.ckpt-{step}")
        assert (saved["hooks/EarlyStoppingHook/evaluations"], saved["hooks/EarlyStoppingHook/wait"]) == expected


def test_what_has_stopped_stops_again_at_once_until_it_is_given_more_patience(train_on, said, tmp_path):
    values = [0.9, 0.8, 0.7, 0.6, 0.5]
    train_on(values, _hook(patience=2), log_dir=tmp_path)
    said.clear()
    again = train_on(values, _hook(patience=2), log_dir=tmp_path)
    assert (again.stopped_by, again.steps, again.global_step) == ("EarlyStoppingHook", 0, 6)
    (line,) = said.starting("[EarlyStopping]")
    assert line == (
        STOPPED + "accuracy is no better for 2 evaluations, its best is 0.900 of step 1. "
        "To go on, give it more patience, or leave it out."
    )
    patient = train_on(values, _hook(patience=4), log_dir=tmp_path)
    assert (patient.stopped_by, patient.steps, patient.global_step) == ("EarlyStoppingHook", 4, 10)


@pytest.mark.parametrize("log", [True, False], ids=["with log_dir", "without log_dir"])
@pytest.mark.parametrize("steps", [100, 7], ids=["stopped by the hook", "at max_number_of_steps"])
def test_the_best_weights_come_back_at_the_end(train_on, said, tmp_path, log, steps):
    """The best evaluation is the second, after 4 steps: the weight is -4 then."""
    options = {"log_dir": tmp_path / "log"} if log else {}
    made = []

    def end(mode):
        if mode == "TRAIN":
            made.append(_Last())
        return made if mode == "TRAIN" else []

    hook = _hook(patience=2, restore_best_weights=True)
    result = train_on([0.5, 0.9, 0.8, 0.7, 0.6], hook, steps=steps, then=end, save_model_steps=1, **options)
    assert made[0].weight == -4.0
    assert result.global_step == min(steps, 8)
    (line,) = said.starting("[EarlyStopping] the weights are those of step 3 again: ")
    if log:
        assert line.endswith(str(tmp_path / "log" / "best" / "model.ckpt-4"))
        saved = values_of(result.checkpoint)
        assert (saved["weight"], saved["count"], saved["global_step"]) == (-4.0, 4, result.global_step)
        assert sorted(path.name for path in (tmp_path / "log" / "best").iterdir()) == [
            "checkpoint",
            "model.ckpt-4.data-00000-of-00001",
            "model.ckpt-4.index",
        ]
        assert tf.train.load_checkpoint(str(tmp_path / "log" / "best")).get_tensor("weight") == -4.0
        evaluated = train_on(
            [0.0], None, run_mode="EVAL", inter_mode=None, steps=0, checkpoint_path=tmp_path / "log" / "best"
        )
        assert evaluated.metrics["weight"] == -4.0
    else:
        assert not Path(line.rpartition(": ")[2]).parent.exists()
        assert list(tmp_path.iterdir()) == []


class _Last(mox.AggregativeSessionRunHook):
    """Reads the weight when the hooks before it have ended."""

    def end(self, session):
        (weight,) = session.graph.get_collection("trainable_variables")
        self.weight = float(session.run(weight))

    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return False


def test_a_resumed_run_still_has_the_best_weights_of_the_one_before(train_on, tmp_path):
    values = [0.5, 0.9, 0.8, 0.7, 0.6]
    hook = _hook(patience=3, restore_best_weights=True)

    def signal_like(mode):  # cut short, so that nothing is restored and the second run goes on from these weights
        return [_Failing()] if mode == "TRAIN" else []

    with pytest.raises(RuntimeError, match="cut short"):
        train_on(values, hook, then=signal_like, save_model_steps=1, log_dir=tmp_path)
    assert values_of(tmp_path / "model.ckpt-6")["weight"] == -6.0
    result = train_on(values, hook, log_dir=tmp_path)
    assert (result.stopped_by, result.global_step) == ("EarlyStoppingHook", 10)
    assert values_of(result.checkpoint)["weight"] == -4.0


class _Failing(_Last):
    def after_run(self, run_context, run_values):
        del run_values
        if run_context.global_step == 6:
            raise RuntimeError("cut short")

    def end(self, session):
        pass


def test_best_weights_that_are_gone_leave_the_last_ones_and_a_warning(train_on, said, tmp_path):
    train_on([0.9, 0.8, 0.7], _hook(patience=9), steps=2, log_dir=tmp_path)
    result = train_on([0.9, 0.8, 0.7], _hook(patience=9, restore_best_weights=True), steps=4, log_dir=tmp_path)
    (warning,) = (line for line in said.lines if line.startswith("WARNING"))
    assert warning == (
        f"WARNING:tensorflow:there are no best weights in {str(tmp_path / 'best')!r}: "
        "a hook has to save them before it restores them. The weights stay as they are."
    )
    assert values_of(result.checkpoint)["weight"] == -4.0


def test_two_hooks_have_counts_of_their_own(train_on, tmp_path):
    def second(mode):
        del mode
        return [mox.EarlyStoppingHook({"loss": tf.constant(1.0)}, "loss", patience=2, **SCHEDULE)]

    result = train_on([0.1, 0.2, 0.3, 0.4], _hook(patience=9), then=second, log_dir=tmp_path)
    assert (result.stopped_by, result.global_step) == ("EarlyStoppingHook", 6)
    saved = values_of(result.checkpoint)
    assert (saved["hooks/EarlyStoppingHook/wait"], saved["hooks/EarlyStoppingHook/wait_1"]) == (0, 2)


def test_two_hooks_that_restore_are_refused(train_on):
    hook = _hook(restore_best_weights=True)
    with pytest.raises(mox.UsageError, match=r"^two hooks of model_fn have restore_best_weights=True"):
        train_on([0.1], hook, then=lambda mode: [hook(tf.constant(1.0))])  # noqa: ARG005


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"monitor": "los"}, "monitor of EarlyStoppingHook is 'los'; it must be a name of monitor_info: 'loss'."),
        ({"patience": -1}, "patience of EarlyStoppingHook is -1; it must be 0 or more."),
        ({"mode": "up"}, "mode of EarlyStoppingHook is 'up'; it must be 'auto', 'min' or 'max'."),
        ({"batch_size": 0}, "batch_size of EarlyStoppingHook is 0; it must be above 0."),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, text):
    with pytest.raises(mox.UsageError) as refusal:
        mox.EarlyStoppingHook(**{"monitor_info": {"loss": 1.0}, "monitor": "loss", **SCHEDULE} | options)
    assert str(refusal.value) == text


def test_a_hook_that_is_made_outside_of_model_fn_is_refused():
    with pytest.raises(mox.UsageError) as refusal:
        mox.EarlyStoppingHook({"loss": 1.0}, "loss", **SCHEDULE)
    assert str(refusal.value) == (
        "EarlyStoppingHook was made outside of model_fn, where its state cannot be saved: make it inside."
    )
