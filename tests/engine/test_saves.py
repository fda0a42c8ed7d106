"""Checkpoints that are written while the training goes on: of one moment, whole or not at all, never lost unsaid."""

import os
import signal
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import forked
import mox_core as mox
from mox_core.engine.checkpoint.saver import Saver

TRAIN = mox.ModeKeys.TRAIN
ENOUGH = 60
"""Seconds after which a test gives up what it waits for."""


class _AfterStep(mox.Hook):
    """Calls a function when a global step has been reached, or the hooks end."""

    def __init__(self, functions):
        super().__init__()
        self.functions = functions

    def after_run(self, run_context, run_values):  # noqa: ARG002
        if function := self.functions.get(run_context.global_step + 1):
            function()

    def end(self, session):  # noqa: ARG002
        self.functions.get("end", int)()


@pytest.fixture
def held_back(monkeypatch):
    """Holds back what the thread writes of a step until `go` is set; nothing of it is on the disk before."""

    class HeldBack:
        step = None
        go, in_time = threading.Event(), []

    original = Saver._write_files

    def write_files(saver, folder, prefix, tensors):
        if prefix.endswith(f"-{HeldBack.step}"):
            HeldBack.in_time.append(HeldBack.go.wait(ENOUGH))
        original(saver, folder, prefix, tensors)

    monkeypatch.setattr(Saver, "_write_files", write_files)
    return HeldBack


@pytest.fixture
def train(regression):
    """Trains linear regression beside a table of which each step changes two rows."""

    def call(log_dir, steps, after=None, **options):
        def model_fn(inputs, mode):
            spec = regression.model_fn(inputs, mode)
            table = tf.compat.v1.get_variable("table", [4, 2], initializer=tf.compat.v1.zeros_initializer())
            loss = spec.loss + tf.reduce_sum(tf.gather(table, [1, 3]))
            return mox.ModelSpec(loss=loss, log_info={"loss": loss}, hooks=[_AfterStep(after or {})])

        return mox.run(
            input_fn=regression.input_fn,
            model_fn=model_fn,
            optimizer_fn=lambda: tf.compat.v1.train.MomentumOptimizer(0.02, 0.5),
            run_mode=TRAIN,
            batch_size=4,
            log_dir=log_dir,
            max_number_of_steps=steps,
            save_model_steps=options.pop("save_model_steps", 2),
            save_model_secs=None,
            **options,
        )

    return call


def _check_content(prefix, step, regression):
    found = {name: tf.train.load_variable(str(prefix), name) for name, _ in tf.train.list_variables(str(prefix))}
    expected = regression.train(step, batch_size=4, rate=0.02, momentum=0.5)
    np.testing.assert_allclose(found["weights"], expected.weights, rtol=1e-4)
    np.testing.assert_allclose(found["weights/Momentum"], expected.slots[:3], rtol=1e-4)
    # Gradients of 1: the velocity is 2 - 0.5^(step - 1), and all of them together are 2 step - 2 + 0.5^(step - 1).
    row = -0.02 * (2 * step - 2 + 0.5 ** (step - 1))
    np.testing.assert_allclose(found["table"], [[0, 0], [row, row]] * 2, rtol=1e-5)
    assert (found["global_step"], found["mox/input_positions"].tolist()) == (step, [4 * step])


def test_a_checkpoint_is_of_its_step_although_the_training_went_on_meanwhile(train, regression, held_back, tmp_path):
    """The first save is written when two more steps have been run, and the next one is due."""
    held_back.step, seen = 2, []

    def look():
        seen.append(sorted(path.name for path in tmp_path.glob("model.ckpt-*.index")))
        held_back.go.set()

    result = train(tmp_path, 7, {4: look})
    assert held_back.in_time == [True], "the steps 3 and 4 were run before the checkpoint of step 2 was written"
    assert seen == [["model.ckpt-0.index"]]
    assert result.checkpoint == str(tmp_path / "model.ckpt-7")
    for step in (2, 4, 6, 7):
        _check_content(tmp_path / f"model.ckpt-{step}", step, regression)
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert [Path(path).name for path in state.all_model_checkpoint_paths] == [
        f"model.ckpt-{step}" for step in (0, 2, 4, 6, 7)
    ]


def test_a_signal_waits_for_the_checkpoint_under_way_and_saves_its_own(train, regression, held_back, said, tmp_path):
    held_back.step = 50
    after = {51: lambda: os.kill(os.getpid(), signal.SIGTERM), "end": held_back.go.set}
    result = train(tmp_path, 10**6, after, save_model_steps=50)
    assert (result.stopped_by, held_back.in_time) == ("SIGTERM", [True])
    for step in (50, result.global_step):
        _check_content(tmp_path / f"model.ckpt-{step}", step, regression)
    assert said.starting("Saving") == [
        f"INFO:tensorflow:Saving checkpoints for {each} into {tmp_path}/model.ckpt."
        for each in (0, 50, result.global_step)
    ]


def test_what_cannot_be_written_ends_the_run_in_its_words_and_leaves_what_was_saved(train, regression, tmp_path):
    """It ends soon: the run had a hundred million steps to go."""
    blocked = tmp_path / "model.ckpt-4.data-00000-of-00001"
    with pytest.raises(mox.LogDirError) as caught:
        train(tmp_path, 10**8, {1: blocked.mkdir}, log_every_n_steps=10**9, save_model_steps=4)
    assert str(caught.value).startswith(f"'{tmp_path}' cannot be written: Is a directory ('{tmp_path}/.unfinished-")
    assert str(caught.value).endswith(
        "What was saved there before is whole: a training goes on from its newest checkpoint when it is started again."
    )
    blocked.rmdir()
    assert [path.name for path in tmp_path.glob("*.unfinished*")] == []
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-0")
    result = train(tmp_path, 4)
    assert result.steps == 4
    _check_content(result.checkpoint, 4, regression)


def test_an_error_of_the_run_goes_before_that_of_a_checkpoint_which_is_logged(train, held_back, said, tmp_path):
    held_back.step, blocked = 2, tmp_path / "model.ckpt-2.data-00000-of-00001"

    def fail():
        held_back.go.set()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(tmp_path, 100, {1: blocked.mkdir, 3: fail})
    errors = [line for line in said.lines if line.startswith("ERROR:tensorflow:'")]
    assert len(errors) == 1
    assert f"'{tmp_path}' cannot be written: Is a directory" in errors[0]
    assert not any(thread.name.startswith("mox-saver") for thread in threading.enumerate())


KILLED = """
import os, sys, threading
import tensorflow as tf
import mox_core as mox
from mox_core.engine.checkpoint import saver

log_dir, where = sys.argv[1:]
original = saver.sync_to_disk

def sync_to_disk(path):
    if threading.current_thread() is not threading.main_thread() and "ckpt-4" in path.name and path.suffix == where:
        reached.set()
        threading.Event().wait()  # until the kill
    original(path)

reached, saver.sync_to_disk = threading.Event(), sync_to_disk

class Kill(mox.Hook):
    def after_run(self, run_context, run_values):
        if run_context.global_step == 5:  # the training has gone on
            print("reached", reached.wait(60), flush=True)
            os.kill(os.getpid(), 9)

exec(sys.stdin.read())
train(log_dir, [Kill()])
"""

TRAINED = """
def model_fn(inputs, mode):
    weight = tf.compat.v1.get_variable("weight", [2], initializer=tf.compat.v1.ones_initializer())
    loss = tf.reduce_mean((inputs[0] - weight) ** 2)
    return mox.ModelSpec(loss=loss, log_info={"loss": loss}, hooks=hooks_of_run)

def train(log_dir, hooks):
    global hooks_of_run
    hooks_of_run = hooks
    tf.random.set_seed(3)
    dataset = tf.data.Dataset.range(40).map(lambda index: tf.cast([index, index * index % 7], tf.float32))
    return mox.run(
        input_fn=lambda mode: dataset.shuffle(40, seed=1).repeat(), model_fn=model_fn, run_mode=mox.ModeKeys.TRAIN,
        optimizer_fn=mox.get_optimizer_fn("momentum", learning_rate=0.01, momentum=0.9), batch_size=4,
        max_number_of_steps=9, save_model_steps=2, save_model_secs=None, log_dir=log_dir)
"""


@pytest.mark.parametrize("where", [".data-00000-of-00001", ".index"])
def test_a_kill_between_the_snapshot_and_the_files_loses_nothing_and_the_run_ends_as_if_there_were_none(
    where, tmp_path, variables
):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    done = forked.run(
        [sys.executable, "-c", KILLED, killed, where],
        input=TRAINED,
        capture_output=True,
        text=True,
        check=False,
        timeout=ENOUGH,
    )
    assert (done.returncode, done.stdout.strip()) == (-signal.SIGKILL, "reached True"), done.stderr[-3000:]
    assert tf.train.latest_checkpoint(str(killed)) == str(killed / "model.ckpt-2")
    names = {"tf": tf, "mox": mox}
    exec(textwrap.dedent(TRAINED), names)  # noqa: S102
    resumed = names["train"](killed, [])
    assert (resumed.steps, resumed.global_step) == (7, 9)
    expected = variables(names["train"](whole, []).checkpoint)
    found = variables(resumed.checkpoint)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert list(killed.glob(".unfinished*")) == []
