"""Checkpoints: when they are written, in which form, and which one a run starts from."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from checkpoints import BIAS, WEIGHTS, steps_in, write_v1
from mox_core.errors import CheckpointError

TRAIN, EVAL, PREDICT = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL, mox.ModeKeys.PREDICT

# ---- form, and when


def test_a_checkpoint_holds_every_variable_under_its_name_in_the_format_of_tensorflow(
    run_regression, regression, tmp_path
):
    result = run_regression(TRAIN, log_dir=tmp_path, max_number_of_steps=3)
    assert result.checkpoint == str(tmp_path / "model.ckpt-3") == tf.train.latest_checkpoint(str(tmp_path))
    reader = tf.train.load_checkpoint(str(tmp_path))
    shapes = {
        "weights": [3],
        "bias": [],
        "weights/Momentum": [3],
        "bias/Momentum": [],
        "global_step": [],
        "mox/input_positions": [1],
        "mox/seed": [],
    }
    assert reader.get_variable_to_shape_map() == shapes
    assert reader.get_tensor("global_step").dtype == np.int64
    expected = regression.train(3, batch_size=4, rate=0.02, momentum=0.8)
    np.testing.assert_allclose(reader.get_tensor("weights"), expected.weights, rtol=1e-5)
    np.testing.assert_allclose(reader.get_tensor("weights/Momentum"), expected.slots[:3], rtol=1e-5)
    assert reader.get_tensor("mox/input_positions").tolist() == [12]


def test_checkpoints_are_written_at_the_start_every_n_steps_and_at_the_end(run_regression, said, tmp_path):
    mox.set_flag("max_to_keep", 0)
    run_regression(TRAIN, log_dir=tmp_path, max_number_of_steps=8, save_model_steps=3, save_model_secs=None)
    assert steps_in(tmp_path) == [0, 3, 6, 8]
    saved = [f"INFO:tensorflow:Saving checkpoints for {step} into {tmp_path}/model.ckpt." for step in (0, 3, 6, 8)]
    assert said.starting("Saving") == saved
    # The multiples of n are those of the global step, however often the run is stopped.
    run_regression(TRAIN, log_dir=tmp_path, max_number_of_steps=13, save_model_steps=3)
    assert steps_in(tmp_path) == [0, 3, 6, 8, 9, 12, 13]


def test_seconds_win_over_steps(run_regression, tmp_path):
    run_regression(TRAIN, log_dir=tmp_path / "secs", max_number_of_steps=5, save_model_secs=3600, save_model_steps=1)
    assert steps_in(tmp_path / "secs") == [0, 5]
    run_regression(TRAIN, log_dir=tmp_path / "often", max_number_of_steps=5, save_model_secs=1e-9, log_every_n_steps=1)
    assert steps_in(tmp_path / "often") == [1, 2, 3, 4, 5]
    run_regression(TRAIN, log_dir=tmp_path / "neither", max_number_of_steps=5)
    assert steps_in(tmp_path / "neither") == [0, 5]
    run_regression(TRAIN, log_dir=tmp_path / "never", max_number_of_steps=5, save_model_secs=None)
    assert steps_in(tmp_path / "never") == [0, 5]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"save_model_secs": 0}, r"^save_model_secs is 0; it must be a number of seconds above 0\.$"),
        ({"save_model_steps": 0}, r"^save_model_steps is 0; it must be a whole number, 1 or more\.$"),
    ],
    ids=str,
)
def test_a_period_that_cannot_be_is_refused(given, words, run_regression, tmp_path):
    with pytest.raises(mox.UsageError, match=words):
        run_regression(TRAIN, log_dir=tmp_path, max_number_of_steps=1, **given)


def test_the_newest_checkpoints_are_kept_and_the_file_checkpoint_names_them(trained, tmp_path):
    def named():
        state = tf.train.get_checkpoint_state(str(tmp_path))
        assert state.model_checkpoint_path == tf.train.latest_checkpoint(str(tmp_path))
        return [Path(path).name for path in state.all_model_checkpoint_paths]

    trained.train(tmp_path, 7)
    assert steps_in(tmp_path) == [3, 4, 5, 6, 7], "five by default"
    assert named() == [f"model.ckpt-{step}" for step in (3, 4, 5, 6, 7)]
    mox.set_flag("max_to_keep", 2)
    trained.train(tmp_path, 8)
    assert steps_in(tmp_path) == [7, 8]
    assert named() == ["model.ckpt-7", "model.ckpt-8"]
    others = {path.name for path in tmp_path.iterdir() if not path.name.startswith(("model.ckpt-", "events."))}
    assert others == {"checkpoint", "history.jsonl", "runs.json"}
    mox.set_flag("max_to_keep", 1)
    trained.train(tmp_path, 9)
    assert named() == ["model.ckpt-9"]
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert tf.train.latest_checkpoint(str(moved)) == str(moved / "model.ckpt-9")


def test_without_log_dir_nothing_is_written(run_regression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_regression(TRAIN, max_number_of_steps=2).checkpoint is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_other_files_stay(trained, tmp_path):
    trained(tmp_path)
    (tmp_path / ".unfinished-123").mkdir()
    (tmp_path / ".unfinished-123" / "model.ckpt-9.data-00000-of-00001").touch()
    (tmp_path / ".unfinished-state").touch()
    (tmp_path / "model.ckpt-9.data-00000-of-00001").touch()  # its index was never written
    (tmp_path / "mine.data-00000-of-00001").touch()
    (tmp_path / "checkpoint").unlink()  # the kill came before it was written again
    trained.train(tmp_path, 3)
    names = {path.name for path in tmp_path.iterdir() if not re.match(r"events\.|model\.ckpt-[0-3]\.", path.name)}
    assert names == {"checkpoint", "history.jsonl", "runs.json", "mine.data-00000-of-00001"}
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-3")


# ---- which one a run starts from: chapter 6 of the manual


def test_a_checkpoint_in_log_dir_goes_before_checkpoint_path(run_regression, said, tmp_path):
    other = write_v1(tmp_path / "other" / "model.ckpt", {"weights": WEIGHTS, "bias": BIAS})
    mine = run_regression(TRAIN, log_dir=tmp_path / "mine", max_number_of_steps=2).checkpoint
    said.clear()
    # Box 6-0-1 of the manual: a run that has nothing left to do says so.
    result = run_regression(TRAIN, log_dir=tmp_path / "mine", checkpoint_path=other, max_number_of_steps=2)
    assert f"INFO:tensorflow:Ignoring --checkpoint_path because a checkpoint already exists in {tmp_path}/mine" in (
        said.lines
    )
    assert f"INFO:tensorflow:Restoring parameters from {mine}" in said.lines
    assert said.lines[-2] == (
        f"WARNING:tensorflow:{tmp_path}/mine already holds global step 2 and max_number_of_steps is 2: there is "
        "nothing left to train. Pass a higher max_number_of_steps to go on, or another log_dir to start anew."
    )
    assert said.lines[-1] == "INFO:tensorflow:Training stops at global step 2: max_number_of_steps is reached."
    assert (result.steps, result.global_step, result.stopped_by) == (0, 2, "max_number_of_steps")
    assert result.checkpoint == mine
    assert result.metrics == {}

    evaluated = run_regression(EVAL, log_dir=tmp_path / "mine", checkpoint_path=other)
    assert (evaluated.checkpoint, evaluated.global_step) == (mine, 2)


@pytest.mark.parametrize("form", ["folder", "prefix", "index"])
def test_without_one_in_log_dir_checkpoint_path_is_used(form, run_regression, regression, variables, tmp_path):
    values = {"weights": WEIGHTS, "bias": BIAS, "weights/Momentum": np.ones(3, np.float32)}
    values |= {"bias/Momentum": np.float32(0), "global_step": np.int64(40)}
    prefix = write_v1(tmp_path / "other" / "net.ckpt", values)
    path = {"folder": tmp_path / "other", "prefix": prefix, "index": prefix + ".index"}[form]

    # The mean squared error over the 40 samples.
    error = regression.features @ WEIGHTS + BIAS - regression.targets
    evaluated = run_regression(EVAL, checkpoint_path=path)
    assert evaluated.metrics["loss"] == pytest.approx(np.mean(error**2), rel=1e-5)
    assert (evaluated.checkpoint, evaluated.global_step) == (prefix, 40)

    log_dir = tmp_path / "log"
    result = run_regression(TRAIN, checkpoint_path=path, log_dir=log_dir, max_number_of_steps=41)
    assert (result.steps, result.checkpoint) == (1, str(log_dir / "model.ckpt-41"))
    np.testing.assert_array_equal(variables(log_dir / "model.ckpt-40")["weights"], WEIGHTS)
    gradient = 2 * regression.features[:4].T @ error[:4] / 4
    expected = WEIGHTS - 0.02 * (0.8 * 1 + gradient)
    np.testing.assert_allclose(variables(result.checkpoint)["weights"], expected, rtol=1e-4)


def test_a_run_that_checkpoint_path_leaves_nothing_to_do_says_how_to_count_from_0(run_regression, said, tmp_path):
    values = {"weights": WEIGHTS, "bias": BIAS, "global_step": np.int64(40)}
    prefix = write_v1(tmp_path / "net.ckpt", values)
    run_regression(TRAIN, checkpoint_path=prefix, max_number_of_steps=40)
    assert said.lines[-2] == (
        f"WARNING:tensorflow:{prefix} already holds global step 40 and max_number_of_steps is 40: there is "
        "nothing left to train. Pass a higher max_number_of_steps to go on, or "
        "--checkpoint_exclude_patterns=global_step to count from 0."
    )
    mox.set_flag("checkpoint_exclude_patterns", "global_step")
    assert run_regression(TRAIN, checkpoint_path=prefix, max_number_of_steps=2).steps == 2


def test_training_without_a_checkpoint_starts_from_initial_values(run_regression, variables, tmp_path):
    (tmp_path / "log").mkdir()
    run_regression(TRAIN, log_dir=tmp_path / "log", max_number_of_steps=1)
    np.testing.assert_array_equal(variables(tmp_path / "log" / "model.ckpt-0")["weights"], np.zeros(3))


@pytest.mark.parametrize("mode", [EVAL, PREDICT])
def test_other_modes_refuse_to_go_without_a_checkpoint_and_name_where_they_looked(mode, run_regression, tmp_path):
    options = {"output_fn": lambda outputs: None, "output_every_n_steps": 1} if mode == PREDICT else {}  # noqa: ARG005
    with pytest.raises(CheckpointError) as caught:
        run_regression(mode, log_dir=tmp_path / "log", **options)
    assert str(caught.value) == (
        f"{mode} needs a checkpoint and found none: looked in log_dir '{tmp_path}/log', and checkpoint_path is not "
        "given. Train first, or pass log_dir or checkpoint_path."
    )
    with pytest.raises(CheckpointError, match="needs a checkpoint, and log_dir and checkpoint_path are not given"):
        run_regression(mode, **options)


def test_a_checkpoint_path_without_a_checkpoint_is_refused_also_in_training(run_regression, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=rf"^checkpoint_path '{tmp_path}/empty' is a folder without a checkpoint"):
        run_regression(TRAIN, checkpoint_path=tmp_path / "empty", max_number_of_steps=1)
    with pytest.raises(CheckpointError) as caught:
        run_regression(EVAL, checkpoint_path=tmp_path / "none.ckpt")
    assert str(caught.value) == (
        f"checkpoint_path '{tmp_path}/none.ckpt' is neither a folder nor the prefix of a checkpoint: there is no "
        f"'{tmp_path}/none.ckpt.index'."
    )


@pytest.mark.parametrize("name", ["a]b*?", "~no one", "a b{a,b}%20~"])
def test_a_folder_of_any_name_saves_resumes_evaluates_exports_and_loads(name, regression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = {"input_fn": regression.input_fn, "model_fn": regression.model_fn, "batch_size": 8, "log_dir": name}
    train = {"optimizer_fn": regression.sgd, "run_mode": mox.ModeKeys.TRAIN, "export_model": mox.ExportKeys.TF_SERVING}
    assert [mox.run(**job, **train, max_number_of_steps=steps).steps for steps in (2, 5)] == [2, 3]
    assert mox.run(**job, run_mode=mox.ModeKeys.EVAL).global_step == 5
    assert [path.name for path in tmp_path.iterdir()] == [name]
    served = tf.saved_model.load(str(tmp_path / name / "2")).signatures["serving_default"]
    expected = regression.train(5, batch_size=8, rate=0.1)
    predictions = served(features=tf.constant(regression.features))["predictions"]
    np.testing.assert_allclose(
        predictions, regression.features @ expected.weights + expected.bias, rtol=1e-4, atol=1e-5
    )
