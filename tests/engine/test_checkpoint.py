"""Checkpoints: when they are written, in which form, which one a run starts from, and what is said of bad ones."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.checkpoint.files import remove_unfinished
from mox_core.engine.checkpoint.reader import load, load_latest, read
from mox_core.errors import CheckpointError

TRAIN, EVAL, PREDICT = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL, mox.ModeKeys.PREDICT


@pytest.fixture
def run(regression):
    """Runs linear regression on 4 samples a batch."""

    def call(run_mode, **options):
        if run_mode == TRAIN:
            options.setdefault("optimizer_fn", lambda: tf.compat.v1.train.MomentumOptimizer(0.02, 0.8))
        options = {"input_fn": regression.input_fn, "model_fn": regression.model_fn, "batch_size": 4, **options}
        return mox.run(run_mode=run_mode, **options)

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A log_dir with checkpoints of the steps 0 to 3, to be copied."""
    folder = tmp_path_factory.mktemp("trained")

    def model_fn(inputs, mode):  # noqa: ARG001
        weight = tf.compat.v1.get_variable("weight", [3], initializer=tf.compat.v1.ones_initializer())
        loss = tf.reduce_mean(inputs[0] * weight)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss})

    def train(log_dir, steps):
        return mox.run(
            input_fn=lambda mode: tf.ones([3]),  # noqa: ARG005
            model_fn=model_fn,
            optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
            run_mode=TRAIN,
            batch_size=2,
            log_dir=log_dir,
            max_number_of_steps=steps,
            save_model_steps=1,
        )

    train(folder, 3)

    def copy(to):
        shutil.copytree(folder, to, dirs_exist_ok=True)
        return to

    copy.train = train
    return copy


def _steps(log_dir):
    return sorted(int(path.stem.partition("-")[2]) for path in Path(log_dir).glob("model.ckpt-*.index"))


def _write_v1(prefix, values):
    """A checkpoint as a TF1 script writes it; returns its prefix."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        made = [tf.compat.v1.get_variable(name, initializer=value) for name, value in values.items()]
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(made)
        Path(prefix).parent.mkdir(parents=True, exist_ok=True)
        return saver.save(session, str(prefix))


WEIGHTS = np.array([0.5, 0.25, -1.0], np.float32)
BIAS = np.float32(0.125)


# ---- form, and when


def test_a_checkpoint_holds_every_variable_under_its_name_in_the_format_of_tensorflow(run, regression, tmp_path):
    result = run(TRAIN, log_dir=tmp_path, max_number_of_steps=3)
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


def test_checkpoints_are_written_at_the_start_every_n_steps_and_at_the_end(run, said, tmp_path):
    mox.set_flag("max_to_keep", 0)
    run(TRAIN, log_dir=tmp_path, max_number_of_steps=8, save_model_steps=3, save_model_secs=None)
    assert _steps(tmp_path) == [0, 3, 6, 8]
    saved = [f"INFO:tensorflow:Saving checkpoints for {step} into {tmp_path}/model.ckpt." for step in (0, 3, 6, 8)]
    assert said.starting("Saving") == saved
    # The multiples of n are those of the global step, however often the run is stopped.
    run(TRAIN, log_dir=tmp_path, max_number_of_steps=13, save_model_steps=3)
    assert _steps(tmp_path) == [0, 3, 6, 8, 9, 12, 13]


def test_seconds_win_over_steps(run, tmp_path):
    run(TRAIN, log_dir=tmp_path / "secs", max_number_of_steps=5, save_model_secs=3600, save_model_steps=1)
    assert _steps(tmp_path / "secs") == [0, 5]
    run(TRAIN, log_dir=tmp_path / "often", max_number_of_steps=5, save_model_secs=1e-9, log_every_n_steps=1)
    assert _steps(tmp_path / "often") == [1, 2, 3, 4, 5]
    run(TRAIN, log_dir=tmp_path / "neither", max_number_of_steps=5)
    assert _steps(tmp_path / "neither") == [0, 5]
    run(TRAIN, log_dir=tmp_path / "never", max_number_of_steps=5, save_model_secs=None)
    assert _steps(tmp_path / "never") == [0, 5]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"save_model_secs": 0}, r"^save_model_secs is 0; it must be a number of seconds above 0\.$"),
        ({"save_model_steps": 0}, r"^save_model_steps is 0; it must be a whole number, 1 or more\.$"),
    ],
    ids=str,
)
def test_a_period_that_cannot_be_is_refused(given, words, run, tmp_path):
    with pytest.raises(mox.UsageError, match=words):
        run(TRAIN, log_dir=tmp_path, max_number_of_steps=1, **given)


def test_the_newest_checkpoints_are_kept_and_the_file_checkpoint_names_them(trained, tmp_path):
    def named():
        state = tf.train.get_checkpoint_state(str(tmp_path))
        assert state.model_checkpoint_path == tf.train.latest_checkpoint(str(tmp_path))
        return [Path(path).name for path in state.all_model_checkpoint_paths]

    trained.train(tmp_path, 7)
    assert _steps(tmp_path) == [3, 4, 5, 6, 7], "five by default"
    assert named() == [f"model.ckpt-{step}" for step in (3, 4, 5, 6, 7)]
    mox.set_flag("max_to_keep", 2)
    trained.train(tmp_path, 8)
    assert _steps(tmp_path) == [7, 8]
    assert named() == ["model.ckpt-7", "model.ckpt-8"]
    others = {path.name for path in tmp_path.iterdir() if not path.name.startswith(("model.ckpt-", "events."))}
    assert others == {"checkpoint", "history.jsonl", "runs.json"}
    mox.set_flag("max_to_keep", 1)
    trained.train(tmp_path, 9)
    assert named() == ["model.ckpt-9"]
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert tf.train.latest_checkpoint(str(moved)) == str(moved / "model.ckpt-9")


def test_without_log_dir_nothing_is_written(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(TRAIN, max_number_of_steps=2).checkpoint is None
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


def test_a_checkpoint_in_log_dir_goes_before_checkpoint_path(run, said, tmp_path):
    other = _write_v1(tmp_path / "other" / "model.ckpt", {"weights": WEIGHTS, "bias": BIAS})
    mine = run(TRAIN, log_dir=tmp_path / "mine", max_number_of_steps=2).checkpoint
    said.clear()
    # Box 6-0-1 of the manual: a run that has nothing left to do says so.
    result = run(TRAIN, log_dir=tmp_path / "mine", checkpoint_path=other, max_number_of_steps=2)
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

    evaluated = run(EVAL, log_dir=tmp_path / "mine", checkpoint_path=other)
    assert (evaluated.checkpoint, evaluated.global_step) == (mine, 2)


@pytest.mark.parametrize("form", ["folder", "prefix", "index"])
def test_without_one_in_log_dir_checkpoint_path_is_used(form, run, regression, variables, tmp_path):
    values = {"weights": WEIGHTS, "bias": BIAS, "weights/Momentum": np.ones(3, np.float32)}
    values |= {"bias/Momentum": np.float32(0), "global_step": np.int64(40)}
    prefix = _write_v1(tmp_path / "other" / "net.ckpt", values)
    path = {"folder": tmp_path / "other", "prefix": prefix, "index": prefix + ".index"}[form]

    # The mean squared error over the 40 samples.
    error = regression.features @ WEIGHTS + BIAS - regression.targets
    evaluated = run(EVAL, checkpoint_path=path)
    assert evaluated.metrics["loss"] == pytest.approx(np.mean(error**2), rel=1e-5)
    assert (evaluated.checkpoint, evaluated.global_step) == (prefix, 40)

    log_dir = tmp_path / "log"
    result = run(TRAIN, checkpoint_path=path, log_dir=log_dir, max_number_of_steps=41)
    assert (result.steps, result.checkpoint) == (1, str(log_dir / "model.ckpt-41"))
    np.testing.assert_array_equal(variables(log_dir / "model.ckpt-40")["weights"], WEIGHTS)
    gradient = 2 * regression.features[:4].T @ error[:4] / 4
    expected = WEIGHTS - 0.02 * (0.8 * 1 + gradient)
    np.testing.assert_allclose(variables(result.checkpoint)["weights"], expected, rtol=1e-4)


def test_a_run_that_checkpoint_path_leaves_nothing_to_do_says_how_to_count_from_0(run, said, tmp_path):
    values = {"weights": WEIGHTS, "bias": BIAS, "global_step": np.int64(40)}
    prefix = _write_v1(tmp_path / "net.ckpt", values)
    run(TRAIN, checkpoint_path=prefix, max_number_of_steps=40)
    assert said.lines[-2] == (
        f"WARNING:tensorflow:{prefix} already holds global step 40 and max_number_of_steps is 40: there is "
        "nothing left to train. Pass a higher max_number_of_steps to go on, or "
        "--checkpoint_exclude_patterns=global_step to count from 0."
    )
    mox.set_flag("checkpoint_exclude_patterns", "global_step")
    assert run(TRAIN, checkpoint_path=prefix, max_number_of_steps=2).steps == 2


def test_training_without_a_checkpoint_starts_from_initial_values(run, variables, tmp_path):
    (tmp_path / "log").mkdir()
    run(TRAIN, log_dir=tmp_path / "log", max_number_of_steps=1)
    np.testing.assert_array_equal(variables(tmp_path / "log" / "model.ckpt-0")["weights"], np.zeros(3))


@pytest.mark.parametrize("mode", [EVAL, PREDICT])
def test_other_modes_refuse_to_go_without_a_checkpoint_and_name_where_they_looked(mode, run, tmp_path):
    options = {"output_fn": lambda outputs: None, "output_every_n_steps": 1} if mode == PREDICT else {}  # noqa: ARG005
    with pytest.raises(CheckpointError) as caught:
        run(mode, log_dir=tmp_path / "log", **options)
    assert str(caught.value) == (
        f"{mode} needs a checkpoint and found none: looked in log_dir '{tmp_path}/log', and checkpoint_path is not "
        "given. Train first, or pass log_dir or checkpoint_path."
    )
    with pytest.raises(CheckpointError, match="needs a checkpoint, and log_dir and checkpoint_path are not given"):
        run(mode, **options)


def test_a_checkpoint_path_without_a_checkpoint_is_refused_also_in_training(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=rf"^checkpoint_path '{tmp_path}/empty' is a folder without a checkpoint"):
        run(TRAIN, checkpoint_path=tmp_path / "empty", max_number_of_steps=1)
    with pytest.raises(CheckpointError) as caught:
        run(EVAL, checkpoint_path=tmp_path / "none.ckpt")
    assert str(caught.value) == (
        f"checkpoint_path '{tmp_path}/none.ckpt' is neither a folder nor the prefix of a checkpoint: there is no "
        f"'{tmp_path}/none.ckpt.index'."
    )


# ---- damage


def _damage(path, how):
    data = path.read_bytes()
    if how == "emptied":
        path.write_bytes(b"")
    elif how == "cut off":
        path.write_bytes(data[: len(data) // 2])
    elif how == "overwritten":
        path.write_bytes(data[:-60] + bytes(byte ^ 0xFF for byte in data[-60:]))
    elif how == "one bit":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        path.unlink()


DAMAGED = [
    (end, how)
    for end in ("index", "data-00000-of-00001")
    for how in ("emptied", "cut off", "overwritten", "one bit", "removed")
]


@pytest.mark.parametrize(("end", "how"), DAMAGED, ids=[" ".join(case) for case in DAMAGED])
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_used(end, how, trained, said, tmp_path):
    trained(tmp_path)
    _damage(tmp_path / f"model.ckpt-3.{end}", how)
    found = load_latest(tmp_path)
    assert (found.prefix, found.step) == (str(tmp_path / "model.ckpt-2"), 2)
    np.testing.assert_allclose(found.values["weight"], 1 - 2 * 0.1 / 3, rtol=1e-6)
    (line,) = said.lines
    if (end, how) == ("index", "removed"):
        assert line == (
            f"WARNING:tensorflow:checkpoint '{tmp_path}/model.ckpt-3', which '{tmp_path}/checkpoint' names as the "
            "newest, has no index any more. Trying the one before it."
        )
    else:
        assert line.startswith(f"WARNING:tensorflow:checkpoint '{tmp_path}/model.ckpt-3' is damaged (")
        assert line.endswith("). Trying the one before it.")


def test_a_run_goes_on_from_before_the_damage_and_ends_as_if_there_were_none(trained, variables, tmp_path):
    whole = variables(trained.train(trained(tmp_path / "whole"), 6).checkpoint)
    log_dir = trained(tmp_path / "damaged")
    _damage(log_dir / "model.ckpt-3.data-00000-of-00001", "cut off")
    _damage(log_dir / "model.ckpt-2.index", "emptied")
    result = trained.train(log_dir, 6)
    assert result.steps == 5
    found = variables(result.checkpoint)
    assert all(np.array_equal(whole[name], found[name]) for name in whole)
    assert read(str(log_dir / "model.ckpt-3")).step == 3, "written anew"


def test_a_damaged_checkpoint_of_a_later_step_does_not_displace_good_ones(trained, said, tmp_path):
    """It is the highest by number, and yet neither the newest nor worth one of the places."""
    trained(tmp_path)
    _damage(tmp_path / "model.ckpt-3.data-00000-of-00001", "cut off")
    shutil.copy(tmp_path / "model.ckpt-3.index", tmp_path / "model.ckpt-30.index")
    mox.set_flag("max_to_keep", 1)
    result = trained.train(tmp_path, 4)
    assert result.global_step == 4
    assert tf.train.latest_checkpoint(str(tmp_path)) == result.checkpoint == str(tmp_path / "model.ckpt-4")
    assert _steps(tmp_path) == [4, 30]
    said.clear()
    assert load_latest(tmp_path).step == 4
    assert "model.ckpt-30' is damaged" in said.lines[0]


def test_a_log_dir_with_nothing_but_damaged_checkpoints_is_refused(trained, said, tmp_path):
    trained(tmp_path)
    for path in tmp_path.glob("*.index"):
        _damage(path, "emptied")
    with pytest.raises(CheckpointError) as caught:
        trained.train(tmp_path, 6)
    listed = ", ".join(f"'{tmp_path}/model.ckpt-{step}'" for step in range(4))
    assert str(caught.value) == (
        f"every checkpoint in '{tmp_path}' is damaged: {listed}. Use another log_dir to start anew."
    )
    assert len(said.lines) == 4
    assert _steps(tmp_path) == [0, 1, 2, 3], "nothing is removed"


def _without_indexes(folder):
    for path in folder.glob("*.index"):
        path.unlink()
    return folder


def _all_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


PUT_BACK = (
    ": without it a checkpoint cannot be read. Put the files back whose names end in '.index', or use another log_dir "
    "to start anew."
)


@pytest.mark.parametrize("state_file", [True, False], ids=["named", "not named"])
def test_a_log_dir_whose_indexes_have_gone_is_refused_in_every_mode_and_left_as_it_is(
    state_file, trained, run, tmp_path
):
    log_dir = _without_indexes(trained(tmp_path / "log"))
    listed = ", ".join(f"'{log_dir}/model.ckpt-{step}'" for step in range(4))
    if state_file:
        words = f"'{log_dir}/checkpoint' names {listed}, and there is no index of them{PUT_BACK}"
    else:
        (log_dir / "checkpoint").unlink()
        words = f"'{log_dir}' holds data of {listed}, and no index of them{PUT_BACK}"
    before = _all_files(log_dir)
    for call in (
        lambda: trained.train(log_dir, 6),
        lambda: run(EVAL, log_dir=log_dir),
        lambda: run(TRAIN, log_dir=tmp_path / "other", checkpoint_path=log_dir, max_number_of_steps=1),
    ):
        with pytest.raises(CheckpointError) as caught:
            call()
        assert str(caught.value).startswith(words)
    assert _all_files(log_dir) == before


def test_a_state_file_without_any_other_file_is_refused(trained, tmp_path):
    """A log_dir that was copied by a pattern, for instance."""
    log_dir = _without_indexes(trained(tmp_path))
    for path in log_dir.glob("*.data-*"):
        path.unlink()
    with pytest.raises(CheckpointError, match=rf"^'{tmp_path}/checkpoint' names '{tmp_path}/model\.ckpt-0', "):
        trained.train(tmp_path, 6)


def test_data_of_a_newest_checkpoint_whose_index_has_gone_stay_until_it_is_written_anew(trained, said, tmp_path):
    trained(tmp_path)
    _damage(tmp_path / "model.ckpt-3.index", "removed")
    data = tmp_path / "model.ckpt-3.data-00000-of-00001"
    remove_unfinished(tmp_path)
    assert data.exists()
    result = trained.train(tmp_path, 3)
    assert result.steps == 1
    assert read(result.checkpoint).step == 3
    assert sum("has no index any more" in line for line in said.lines) == 1


def test_a_first_save_that_was_killed_is_no_checkpoint_that_has_gone(trained, tmp_path):
    """The data are in their place, and the index is not yet."""
    source = trained(tmp_path / "source")
    log_dir = tmp_path / "log"
    (log_dir / ".unfinished-123").mkdir(parents=True)
    shutil.copy(source / "model.ckpt-0.data-00000-of-00001", log_dir)
    shutil.copy(source / "model.ckpt-0.index", log_dir / ".unfinished-123")
    assert load_latest(log_dir) is None
    assert trained.train(log_dir, 1).steps == 1


@pytest.mark.parametrize("there", [True, False], ids=["there", "gone"])
def test_a_state_file_that_names_files_of_another_folder(there, run, said, tmp_path):
    other = _write_v1(tmp_path / "other" / "net-5", {"weights": WEIGHTS, "bias": BIAS})
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "checkpoint").write_text(f'model_checkpoint_path: "{other}"\n', encoding="utf-8")
    if there:
        assert run(EVAL, log_dir=tmp_path / "log").checkpoint == other
        said_so = f"WARNING:tensorflow:'{tmp_path}/log/checkpoint' names a checkpoint of another folder, and the run "
        assert f"{said_so}goes on from that: '{other}'." in said.lines
        return
    (tmp_path / "other").rename(tmp_path / "away")
    begin = f"'{tmp_path}/log/checkpoint' names '{other}', and there is no index of it"
    with pytest.raises(CheckpointError, match=f"^{re.escape(begin + PUT_BACK)}"):
        run(TRAIN, log_dir=tmp_path / "log", max_number_of_steps=1)
    shutil.copytree(tmp_path / "away", tmp_path / "log", dirs_exist_ok=True)  # with its state file: absolute, as TF1's
    (tmp_path / "log" / "checkpoint").write_text(f'model_checkpoint_path: "{other}"\n', encoding="utf-8")
    with pytest.raises(CheckpointError) as caught:
        run(EVAL, log_dir=tmp_path / "log")
    assert str(caught.value) == (
        f"{begin}: without it a checkpoint cannot be read. Checkpoints of these names are here: pass "
        f"'{tmp_path}/log/net-5' as checkpoint_path, or correct the file."
    )


def test_a_state_file_that_cannot_be_read_beside_checkpoints_of_mox_is_not_needed(trained, tmp_path):
    for text in ("", "\0garbage"):
        (trained(tmp_path) / "checkpoint").write_text(text, encoding="utf-8")
        assert load_latest(tmp_path).step == 3
    _without_indexes(tmp_path)
    with pytest.raises(CheckpointError, match=rf"^'{tmp_path}/checkpoint' names no checkpoint\. Remove it"):
        load_latest(tmp_path)


def test_best_weights_that_have_gone_are_refused_before_training(trained, tmp_path):
    log_dir = trained(tmp_path / "log")
    best = trained(log_dir / "best")
    _without_indexes(best)
    with pytest.raises(CheckpointError, match=rf"^'{best}/checkpoint' names '{best}/model\.ckpt-0', "):
        trained.train(log_dir, 6)
    assert _steps(log_dir) == [0, 1, 2, 3]
    shutil.rmtree(best)
    assert trained.train(log_dir, 6).steps == 3


def test_a_damaged_checkpoint_at_a_given_prefix_is_refused(trained, tmp_path):
    trained(tmp_path)
    _damage(tmp_path / "model.ckpt-2.data-00000-of-00001", "cut off")
    with pytest.raises(CheckpointError, match=rf"^checkpoint '{tmp_path}/model\.ckpt-2' is damaged \(\w+: .+\)\.$"):
        load(tmp_path / "model.ckpt-2")


# ---- of other programs, and of other models


def test_a_checkpoint_of_a_tf1_script_restores_by_name_also_from_log_dir(run, variables, tmp_path):
    values = {"weights": WEIGHTS, "bias": BIAS}
    values |= {"weights/Momentum": np.zeros(3, np.float32), "bias/Momentum": np.float32(0)}
    _write_v1(tmp_path / "foreign.ckpt", values)
    assert run(EVAL, log_dir=tmp_path).checkpoint == str(tmp_path / "foreign.ckpt")
    result = run(TRAIN, log_dir=tmp_path, max_number_of_steps=2)
    assert _steps(tmp_path) == [0, 2], "it has no global step"
    np.testing.assert_array_equal(variables(tmp_path / "model.ckpt-0")["weights"], WEIGHTS)
    assert result.checkpoint == tf.train.latest_checkpoint(str(tmp_path))
    assert (tmp_path / "foreign.ckpt.index").exists(), "it is not ours to remove"


def test_of_several_checkpoints_of_another_program_a_damaged_newest_is_passed_over(said, tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        step = tf.compat.v1.get_variable("global_step", initializer=np.int64(0))
        saver = tf.compat.v1.train.Saver()
        for number in (1, 2, 3):
            session.run(step.assign(number))
            saver.save(session, str(tmp_path / "net"), global_step=number)
    _damage(tmp_path / "net-3.index", "emptied")
    assert load_latest(tmp_path).prefix == str(tmp_path / "net-2")
    assert "net-3' is damaged" in said.lines[0]
    (tmp_path / "checkpoint").write_text("")
    with pytest.raises(CheckpointError, match=rf"^'{tmp_path}/checkpoint' names no checkpoint\. Remove it; to use"):
        load_latest(tmp_path)


def _wider(regression):
    """The model with a variable more, and `bias` of another shape."""

    def model_fn(inputs, mode):
        spec = regression.model_fn(inputs, mode)
        more = tf.compat.v1.get_variable("more/logits", [2], initializer=tf.compat.v1.ones_initializer())
        return mox.ModelSpec(loss=spec.loss + tf.reduce_sum(more**2), log_info=spec.log_info)

    return model_fn


def test_fine_tuning_names_what_is_missing_and_what_is_not_used(run, regression, said, variables, tmp_path):
    prefix = _write_v1(tmp_path / "net.ckpt", {"weights": WEIGHTS, "bias": BIAS, "old/logits": BIAS})
    options = {"model_fn": _wider(regression), "optimizer_fn": regression.sgd, "max_number_of_steps": 1}
    run(TRAIN, checkpoint_path=prefix, log_dir=tmp_path / "log", **options)
    assert "WARNING:tensorflow:1 variables are not in the checkpoint and keep their initial values: more/logits" in (
        said.lines
    )
    assert "INFO:tensorflow:1 values of the checkpoint are not used: old/logits" in said.lines
    first = variables(tmp_path / "log" / "model.ckpt-0")
    np.testing.assert_array_equal(first["weights"], WEIGHTS)
    np.testing.assert_array_equal(first["more/logits"], [1, 1])


def test_a_run_of_another_model_does_not_go_on_and_names_what_is_missing(run, regression, tmp_path):
    prefix = run(TRAIN, log_dir=tmp_path, max_number_of_steps=1, optimizer_fn=regression.sgd).checkpoint
    words = f"1 variables of the model are not in checkpoint '{prefix}': more/logits. To train on from its values with"
    options = {"model_fn": _wider(regression), "optimizer_fn": regression.sgd, "max_number_of_steps": 2}
    with pytest.raises(CheckpointError, match=f"^{re.escape(words)} a changed model, use a new log_dir"):
        run(TRAIN, log_dir=tmp_path, **options)
    with pytest.raises(CheckpointError, match=f"^{re.escape(words)}"):
        run(EVAL, log_dir=tmp_path, model_fn=_wider(regression))


def test_variables_of_another_shape_are_named_with_both_shapes(run, tmp_path):
    prefix = _write_v1(tmp_path / "net.ckpt", {"weights": np.zeros([5], np.float32), "bias": BIAS})
    with pytest.raises(CheckpointError) as caught:
        run(TRAIN, checkpoint_path=prefix, max_number_of_steps=1)
    assert str(caught.value) == (
        f"1 variables have another shape in checkpoint '{prefix}': weights (model (3,), checkpoint (5,)). "
        "Leave them out with --checkpoint_exclude_patterns=<name>,... , or build the model that wrote it."
    )
    mox.set_flag("checkpoint_exclude_patterns", "^weights$")
    run(TRAIN, checkpoint_path=prefix, max_number_of_steps=1)


def test_a_checkpoint_of_which_nothing_fits_is_refused(run, tmp_path):
    prefix = _write_v1(tmp_path / "net.ckpt", {"other": BIAS, "global_step": np.int64(3)})
    with pytest.raises(CheckpointError, match=r"has none of the model's variables\. It has: (other|global_step), "):
        run(TRAIN, checkpoint_path=prefix, max_number_of_steps=9)


@pytest.mark.parametrize(
    ("flags", "restored"),
    [
        ({"checkpoint_exclude_patterns": "global_step,bias"}, {"weights"}),
        ({"checkpoint_include_patterns": "weights"}, {"weights"}),
        ({"checkpoint_include_patterns": "w, bias", "checkpoint_exclude_patterns": "we.*s"}, {"bias"}),
        ({}, {"weights", "bias", "global_step"}),
    ],
    ids=["exclude", "include", "both", "neither"],
)
def test_patterns_choose_what_checkpoint_path_restores(flags, restored, run, regression, said, variables, tmp_path):
    values = {"weights": WEIGHTS, "bias": BIAS, "global_step": np.int64(7)}
    prefix = _write_v1(tmp_path / "net.ckpt", values)
    for name, value in flags.items():
        mox.set_flag(name, value)
    log_dir = tmp_path / "log"
    run(TRAIN, checkpoint_path=prefix, log_dir=log_dir, max_number_of_steps=8, optimizer_fn=regression.sgd)
    first = variables(log_dir / f"model.ckpt-{7 if 'global_step' in restored else 0}")
    assert {name for name, value in values.items() if np.array_equal(first[name], value)} == restored
    left_out = [name for name in ("weights", "bias", "global_step") if name not in restored]
    said_so = [line for line in said.lines if "left out by the flags" in line]
    if left_out:
        assert said_so == [
            f"INFO:tensorflow:{len(left_out)} variables are left out by the flags and keep their initial values: "
            + ", ".join(left_out)
        ]
    else:
        assert said_so == []

    # They are about checkpoint_path: from its own log_dir a run restores everything.
    result = run(TRAIN, log_dir=log_dir, max_number_of_steps=9, optimizer_fn=regression.sgd)
    assert result.steps == 1


def test_an_evaluation_warns_of_variables_that_flags_leave_out(run, said, tmp_path):
    prefix = _write_v1(tmp_path / "net.ckpt", {"weights": WEIGHTS, "bias": BIAS})
    mox.set_flag("checkpoint_exclude_patterns", "bias")
    run(EVAL, checkpoint_path=prefix)
    assert "WARNING:tensorflow:1 variables are left out by the flags and keep their initial values: bias" in said.lines


@pytest.mark.parametrize("flag", ["checkpoint_exclude_patterns", "checkpoint_include_patterns"])
def test_a_pattern_that_matches_neither_model_nor_checkpoint_is_refused(flag, run, said, tmp_path):
    prefix = _write_v1(tmp_path / "net.ckpt", {"weights": WEIGHTS, "bias": BIAS, "old/logits": BIAS})
    for mode in (TRAIN, EVAL):
        mox.set_flag(flag, "bias,wieghts")
        with pytest.raises(mox.UsageError) as raised:
            run(mode, checkpoint_path=prefix, max_number_of_steps=1, log_dir=tmp_path / "log")
        assert str(raised.value) == (f"--{flag} holds 'wieghts', which matches no variable. Did you mean 'weights'?")
    mox.set_flag(flag, "bias,^old/,global_step")  # what the checkpoint alone has, and what no other program writes
    run(TRAIN, checkpoint_path=prefix, max_number_of_steps=1, log_dir=tmp_path / "log")
    assert not [line for line in said.lines if "are not used: " in line and "bias" in line]
    mox.set_flag(flag, "no_such")  # which says nothing of a log_dir's own checkpoint
    run(TRAIN, checkpoint_path=prefix, max_number_of_steps=2, log_dir=tmp_path / "log")


def test_patterns_that_leave_nothing_to_restore_are_refused(run, said, tmp_path):
    prefix = _write_v1(tmp_path / "net.ckpt", {"weights": WEIGHTS, "bias": BIAS})
    mox.set_flag("checkpoint_exclude_patterns", "weights,bias")
    with pytest.raises(mox.UsageError) as raised:
        run(TRAIN, checkpoint_path=prefix, max_number_of_steps=1)
    assert str(raised.value) == (
        "--checkpoint_include_patterns= and --checkpoint_exclude_patterns=weights,bias leave nothing of "
        f"'{prefix}' to restore, which has weights, bias. To begin with none of its values, leave checkpoint_path out."
    )
    assert said.starting("Restoring") == []


def test_a_pattern_that_is_no_regular_expression_is_refused(run, tmp_path):
    mox.set_flag("checkpoint_exclude_patterns", "logits,(")
    with pytest.raises(mox.UsageError, match=r"^flag 'checkpoint_exclude_patterns' holds '\(', which is no regular"):
        run(TRAIN, checkpoint_path=tmp_path, max_number_of_steps=1)


def test_a_run_with_other_sources_goes_on_with_their_beginning_and_says_so(run, regression, said, tmp_path):
    from mox_core.sdk import SampleSource

    run(TRAIN, log_dir=tmp_path, max_number_of_steps=1)

    def input_fn(mode):  # noqa: ARG001
        features, targets = (
            SampleSource(num_samples=40, fetch=lambda i, a=array: {"it": tf.gather(a, i)}, describe=str).read()["it"]
            for array in (regression.features, regression.targets)
        )
        return features, targets

    result = run(TRAIN, log_dir=tmp_path, max_number_of_steps=2, input_fn=input_fn)
    assert (
        f"WARNING:tensorflow:the input of this run has other sources than that of {tmp_path}/model.ckpt-1: it starts "
        "from its beginning."
    ) in said.lines
    assert result.metrics["highest"] == pytest.approx(regression.targets[:4].max())


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
