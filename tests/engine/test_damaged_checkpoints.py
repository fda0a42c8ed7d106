"""Checkpoints that are damaged, or have gone in part: they are named, and the one before is used where there is one."""

import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from checkpoints import BIAS, WEIGHTS, steps_in, write_v1
from mox_core.engine.checkpoint.files import remove_unfinished
from mox_core.engine.checkpoint.reader import load, load_latest, read
from mox_core.errors import CheckpointError

TRAIN, EVAL = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL


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
    assert steps_in(tmp_path) == [4, 30]
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
    assert steps_in(tmp_path) == [0, 1, 2, 3], "nothing is removed"


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
    state_file, trained, run_regression, tmp_path
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
        lambda: run_regression(EVAL, log_dir=log_dir),
        lambda: run_regression(TRAIN, log_dir=tmp_path / "other", checkpoint_path=log_dir, max_number_of_steps=1),
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
def test_a_state_file_that_names_files_of_another_folder(there, run_regression, said, tmp_path):
    other = write_v1(tmp_path / "other" / "net-5", {"weights": WEIGHTS, "bias": BIAS})
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "checkpoint").write_text(f'model_checkpoint_path: "{other}"\n', encoding="utf-8")
    if there:
        assert run_regression(EVAL, log_dir=tmp_path / "log").checkpoint == other
        said_so = f"WARNING:tensorflow:'{tmp_path}/log/checkpoint' names a checkpoint of another folder, and the run "
        assert f"{said_so}goes on from that: '{other}'." in said.lines
        return
    (tmp_path / "other").rename(tmp_path / "away")
    begin = f"'{tmp_path}/log/checkpoint' names '{other}', and there is no index of it"
    with pytest.raises(CheckpointError, match=f"^{re.escape(begin + PUT_BACK)}"):
        run_regression(TRAIN, log_dir=tmp_path / "log", max_number_of_steps=1)
    shutil.copytree(tmp_path / "away", tmp_path / "log", dirs_exist_ok=True)  # with its state file: absolute, as TF1's
    (tmp_path / "log" / "checkpoint").write_text(f'model_checkpoint_path: "{other}"\n', encoding="utf-8")
    with pytest.raises(CheckpointError) as caught:
        run_regression(EVAL, log_dir=tmp_path / "log")
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
    assert steps_in(log_dir) == [0, 1, 2, 3]
    shutil.rmtree(best)
    assert trained.train(log_dir, 6).steps == 3


def test_a_damaged_checkpoint_at_a_given_prefix_is_refused(trained, tmp_path):
    trained(tmp_path)
    _damage(tmp_path / "model.ckpt-2.data-00000-of-00001", "cut off")
    with pytest.raises(CheckpointError, match=rf"^checkpoint '{tmp_path}/model\.ckpt-2' is damaged \(\w+: .+\)\.$"):
        load(tmp_path / "model.ckpt-2")


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
