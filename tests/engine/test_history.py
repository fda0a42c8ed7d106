"""What a run returns of what it has logged, and the file that the next run goes on with."""

import json

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core import run_history, run_notes

TRAIN, EVAL = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL


def losses(steps):
    """The losses of `train`, by hand: (3 - w)**2 with w going half of the way in each step."""
    return [9 * 0.25**step for step in range(steps)]


def train(log_dir, steps, **options):
    class Validates(mox.AggregativeSessionRunHook):
        """Evaluates after each second step, and takes what is nearest to 0.1 for the best."""

        support_aggregation = support_sync_workers = lambda _self: False
        run_inter_mode = lambda _self: True  # noqa: E731

        def __init__(self, monitor_info):
            super().__init__()
            self.monitor_info = monitor_info

        def after_run(self, run_context, run_values):
            del run_values
            if run_context.step % 2:
                means = run_context.run_inter_mode(1)
                if run_context.global_step == 3:
                    run_context.note_best()
                assert set(means) == {"distance"}

    def model_fn(inputs, mode):
        del mode
        weight = tf.compat.v1.get_variable("weight", initializer=0.0)
        loss = tf.reduce_mean((inputs[0] * 3.0 - weight) ** 2)
        return mox.ModelSpec(
            loss=loss, log_info={"loss": loss}, hooks=[Validates({"distance": 3.0 - weight + 0.0 * loss})]
        )

    return mox.run(
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.25),
        run_mode=TRAIN,
        inter_mode=EVAL,
        batch_size=2,
        log_dir=log_dir,
        max_number_of_steps=steps,
        log_every_n_steps=1,
        **{"input_fn": lambda _mode: tf.ones([]), "save_model_steps": 2, **options},
    )


def check(history, steps):
    trained = history.of("TRAIN")
    assert [record["step"] for record in trained] == list(range(steps))
    np.testing.assert_allclose([record["loss"] for record in trained], losses(steps), rtol=1e-5)
    assert {record["learning_rate"] for record in trained} == {0.25}
    assert all(record["sample/sec"] > 0 for record in trained)
    validated = history.of("VALIDATION")
    assert [record["step"] for record in validated] == list(range(1, steps, 2))
    np.testing.assert_allclose(
        [record["distance"] for record in validated], [3 * 0.25**n for n in range(1, steps // 2 + 1)]
    )


def test_a_run_returns_what_it_has_logged(tmp_path):
    result = train(tmp_path, 6)
    check(result.history, 6)
    assert result.validation == {"distance": pytest.approx(3 / 64)}
    assert result.best == run_history.Best(3, {"distance": pytest.approx(3 / 16)}, None)
    frame = result.history.to_pandas()
    assert frame[frame["mode"] == "TRAIN"]["loss"].tolist() == pytest.approx(losses(6))


def test_a_resumed_run_goes_on_with_the_history(tmp_path):
    train(tmp_path, 4)
    train(tmp_path, 4)  # there is nothing left to train
    result = train(tmp_path, 6)
    check(result.history, 6)
    check(run_history.read(tmp_path), 6)
    assert result.best.step == 3


def test_steps_that_are_done_again_are_recorded_once(tmp_path):
    train(tmp_path, 6)
    for path in tmp_path.glob("model.ckpt-6.*"):
        path.unlink()  # as if the process had been killed before it saved
    with (tmp_path / run_history.FILE).open("a") as file:
        file.write('{"step": 6, "mo')  # and while it wrote a line
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-4"\n')
    check(train(tmp_path, 8).history, 8)
    check(run_history.read(tmp_path), 8)
    lines = (tmp_path / run_history.FILE).read_text().splitlines()
    assert all(json.loads(line)["mode"] for line in lines)


def test_a_new_training_in_a_folder_begins_a_new_history(tmp_path):
    (tmp_path / run_history.FILE).write_text('{"step": 70, "mode": "TRAIN", "loss": 5.0}\n')
    check(train(tmp_path, 2).history, 2)
    check(run_history.read(tmp_path), 2)


def test_a_run_without_a_folder_has_a_history_too():
    check(train(None, 4).history, 4)


def test_a_value_that_is_no_number_is_none_in_the_file(tmp_path):
    recorder = run_history.Recorder("TRAIN", tmp_path / "history.jsonl")
    recorder.add(0, {"recall": np.float32([0.5, np.nan]), "loss": np.float64(2)})
    assert json.loads((tmp_path / "history.jsonl").read_text()) == {
        "step": 0,
        "mode": "TRAIN",
        "recall": [0.5, None],
        "loss": 2.0,
    }


def test_a_line_that_a_kill_has_cut_off_does_not_take_the_next_one_with_it(tmp_path):
    file = tmp_path / "history.jsonl"
    file.write_text('{"step": 0, "mode": "TRAIN", "loss": 5.0}\n{"step": 1, "mo')
    assert run_history.unread_lines(tmp_path) == [2]
    recorder = run_history.Recorder("TRAIN", file)
    recorder.go_on_from(1)
    recorder.add(1, {"loss": 4.0})
    assert [record["loss"] for record in run_history.read(tmp_path)] == [5.0, 4.0]
    assert run_history.unread_lines(tmp_path) == []


def test_a_history_that_cannot_be_written_is_told_and_kept(tmp_path, caplog):
    recorder = run_history.Recorder("TRAIN", tmp_path / "nowhere" / "history.jsonl")
    recorder.add(0, {"loss": 2.0})
    recorder.add(1, {"loss": 1.0})
    assert len(recorder.history()) == 2
    assert caplog.text.count("the history is not written") == 1


def test_what_saves_and_validations_took_is_noted_and_no_part_of_the_history(tmp_path):
    result = train(tmp_path, 4)
    spent = run_history.read_spent(tmp_path)
    # Checkpoints of the steps 0, 2 and 4, validations after the steps 1 and 3.
    assert [(each.on, each.step) for each in spent] == [
        ("save", 0),
        *(("validation", 1), ("save", 1)),
        *(("validation", 3), ("save", 3)),
    ]
    assert all(0 <= each.seconds < 60 for each in spent)
    assert {record["mode"] for record in result.history} == {"TRAIN", "VALIDATION"}
    assert run_history.read_best(tmp_path) == result.best


def test_runs_are_noted_with_their_arguments_and_ends(tmp_path):
    mox.set_flag("max_to_keep", 3)
    try:
        train(tmp_path, 2)
        train(tmp_path, 4, save_summary_steps=7)
    finally:
        mox.set_flag("max_to_keep", 5)
    with pytest.raises(mox.NanLossError):
        train(tmp_path, 6, input_fn=lambda _mode: tf.constant(np.nan))
    first, second, third = run_notes.read(tmp_path)
    assert (first["first_step"], first["last_step"], first["stopped_by"]) == (0, 2, "max_number_of_steps")
    assert (second["first_step"], second["last_step"]) == (2, 4)
    assert first["begun"] < first["ended"] < second["begun"] < second["ended"]
    assert third["stopped_by"] == "NanLossError"
    assert "last_step" not in third
    assert second["arguments"]["save_summary_steps"] == 7
    assert second["arguments"] | {"batch_size": 2, "run_mode": "TRAIN", "model_fn": "model_fn"} == second["arguments"]
    assert first["flags"]["max_to_keep"] == 3
    assert first["versions"]["tensorflow"] == tf.__version__
    assert first["machine"] | {"workers": 1, "replicas": 1, "GPUs": "none"} == first["machine"]


def test_a_new_training_in_a_folder_begins_new_notes(tmp_path):
    (tmp_path / run_notes.FILE).write_text('[{"begun": "2020-01-01T00:00:00+00:00"}]')
    train(tmp_path, 2)
    (only,) = run_notes.read(tmp_path)
    assert only["last_step"] == 2


@pytest.mark.parametrize("text", ["", "[{", "{}", "[1]"])
def test_notes_that_were_cut_off_are_none(tmp_path, text):
    (tmp_path / run_notes.FILE).write_text(text)
    assert run_notes.read(tmp_path) == []


class Watches(mox.Hook):
    """Sees the batches of evaluations, too."""

    def __init__(self, numbers, seen):
        super().__init__()
        self.numbers, self.seen = numbers, seen

    def before_run(self, run_context):
        del run_context
        return tf.compat.v1.train.SessionRunArgs(self.numbers)

    def after_run(self, run_context, run_values):
        self.seen.append((run_context.global_step, run_context.step, *run_values.results.tolist()))

    def after_inter_mode(self, run_context):
        self.seen.append(("complete", run_context.global_step))


def test_a_hook_that_overrides_after_inter_mode_sees_the_batches_of_evaluations():
    seen = []

    def model_fn(inputs, mode):
        (numbers,) = inputs
        weight = tf.compat.v1.get_variable("weight", initializer=0.0)
        loss = weight + tf.reduce_mean(numbers)
        evaluating = mox.LogEvaluationMetricHook({"mean": tf.reduce_mean(numbers)}, 2, 4, 5)  # 3 batches each 2 steps
        hooks = [evaluating, *([Watches(numbers, seen)] if mode == EVAL else [mox.Hook()])]
        return mox.ModelSpec(loss=loss, hooks=hooks)

    mox.run(
        input_fn=lambda mode: (
            tf.data.Dataset.range(1, 6).map(lambda x: tf.cast(x, tf.float32)).repeat(1 + (mode == TRAIN))
        ),
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.25),
        run_mode=TRAIN,
        inter_mode=EVAL,
        batch_size=2,
        max_number_of_steps=4,
    )
    assert seen == [
        row for step in (1, 3) for row in [(step, 0, 1, 2), (step, 1, 3, 4), (step, 2, 5), ("complete", step)]
    ]
