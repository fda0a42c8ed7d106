"""What a run does where it cannot write into its folder any more, and what others may do there beside it."""

import contextlib
import os
import resource
import shutil

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core import file_lock
from mox_core.log_dir import LOCK

TRAIN, EVAL = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL


@contextlib.contextmanager
def full_disk():
    """Lets files of this process grow to 100 bytes, as a disk that has as much left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def train(regression, every_step):
    """Trains linear regression with 4 samples a batch, and saves every two steps; `then` is called after a step."""

    def call(log_dir, steps, then=None, **options):
        def model_fn(inputs, mode):
            spec = regression.model_fn(inputs, mode)
            hooks = [every_step(lambda step, _results, _context: then(step))] if then and mode == TRAIN else []
            return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, export_spec=spec.export_spec, hooks=hooks)

        options = {"save_model_steps": 2, "save_summary_steps": 100, **options}
        return mox.run(
            input_fn=regression.input_fn,
            model_fn=model_fn,
            optimizer_fn=regression.sgd,
            run_mode=TRAIN,
            batch_size=4,
            log_dir=log_dir,
            max_number_of_steps=steps,
            **options,
        )

    return call


def _evaluate(regression, log_dir, **options):
    return mox.run(
        input_fn=regression.input_fn,
        model_fn=regression.model_fn,
        run_mode=EVAL,
        batch_size=8,
        log_dir=log_dir,
        **options,
    )


def _wait_for_checkpoint(log_dir, step):
    """It is written while the training goes on."""
    while f"model.ckpt-{step}" not in (log_dir / "checkpoint").read_text() or any(log_dir.glob(".unfinished-*")):
        os.sched_yield()


def _files(log_dir):
    return {path.name for path in log_dir.iterdir() if not path.name.startswith("events.")}


@pytest.mark.parametrize("summaries", [100, 1], ids=["a checkpoint", "summaries"])
def test_a_full_disk_ends_a_training_with_one_sentence_and_leaves_what_was_saved(
    summaries, train, regression, variables, tmp_path
):
    def fill_behind_a_checkpoint(step):
        if step == 4:
            _wait_for_checkpoint(tmp_path, 4)
            fill()

    with full_disk() as fill, pytest.raises(mox.LogDirError) as caught:
        train(tmp_path, 8, fill_behind_a_checkpoint, save_summary_steps=summaries)
    file = "events.out" if summaries == 1 else ".unfinished-"
    text = str(caught.value)
    assert text.startswith(f"'{tmp_path}' cannot be written: {tmp_path}/{file}")
    assert text.endswith(
        "; File too large. What was saved there before is whole: a training goes on from its newest checkpoint when it "
        "is started again."
    )
    assert "\n" not in text
    saved = {f"model.ckpt-{step}.{end}" for step in (0, 2, 4) for end in ("index", "data-00000-of-00001")}
    assert _files(tmp_path) == {"checkpoint", "history.jsonl", "runs.json", *saved}
    result = train(tmp_path, 8)
    assert result.steps == 4
    expected = regression.train(8, batch_size=4, rate=0.1)
    np.testing.assert_allclose(variables(result.checkpoint)["weights"], expected.weights, rtol=1e-5)


def test_a_folder_that_is_removed_or_replaced_under_a_training_ends_it_and_is_left_alone(train, tmp_path):
    log_dir = tmp_path / "log"

    def remove(step):
        if step == 2:
            _wait_for_checkpoint(log_dir, 2)
            shutil.rmtree(log_dir)

    def replace(step):
        remove(step)
        if step == 2:
            log_dir.mkdir()

    for then in (remove, replace):
        with pytest.raises(mox.LogDirError) as caught:
            train(log_dir, 8, then)
        assert str(caught.value) == (
            f"'{log_dir}' was removed while this run wrote into it, or its lock was: another run may use that name "
            "now, and this one writes nothing there any more. Start it again to go on from what is there."
        )
        assert [*tmp_path.rglob("*")] == ([] if then is remove else [log_dir])


def test_an_evaluation_that_cannot_write_its_summaries_says_so_and_goes_on(train, regression, said, tmp_path):
    train(tmp_path, 2)
    (tmp_path / "eval").touch()  # where its folder would be
    result = _evaluate(regression, tmp_path)
    expected = regression.train(2, batch_size=4, rate=0.1)
    errors = regression.features @ expected.weights + expected.bias - regression.targets
    assert result.metrics["loss"] == pytest.approx(np.mean(errors**2), rel=1e-5)
    (warning,) = [line for line in said.lines if line.startswith("WARNING")]
    assert warning == (
        f"WARNING:tensorflow:no summaries are written into '{tmp_path}/eval': File exists ('{tmp_path}/eval')."
    )


def test_evaluations_and_exports_go_on_beside_a_training_and_a_second_training_does_not(train, regression, tmp_path):
    done = []

    def beside(step):
        if step == 3:
            exported = {"export_model": lambda _model, folder: done.append(folder) or tf.io.gfile.mkdir(folder + "/it")}
            done.append(_evaluate(regression, tmp_path, **exported))
            with pytest.raises(mox.LogDirError, match=r"in use by another run: process \d+ on machine"):
                train(tmp_path, 9)

    train(tmp_path, 4, beside, save_model_steps=100)
    _, result = done
    assert (result.global_step, result.export_path) == (0, str(tmp_path / "1"))
    assert (tmp_path / "1" / "it").is_dir()
    assert LOCK not in _files(tmp_path)


def test_an_export_of_another_process_that_goes_on_is_not_swept_and_that_of_a_dead_one_is(train, tmp_path):
    going_on, left = tmp_path / ".unfinished-export-a", tmp_path / ".unfinished-export-b"
    for folder in (going_on, left):
        folder.mkdir()
        (folder / "part").touch()
    lock = file_lock.take(going_on.with_suffix(".lock"))
    try:
        train(tmp_path, 2, export_model=lambda _model, folder: tf.io.gfile.mkdir(folder + "/it"))
        assert (going_on / "part").exists()
        assert _files(tmp_path) & {left.name, left.name + ".lock"} == set()
        assert (tmp_path / "1" / "it").is_dir()
    finally:
        lock.release()


def test_a_training_with_an_empty_log_dir_says_that_it_saves_nothing(train, said):
    train(None, 2)
    assert not [line for line in said.lines if "log_dir" in line]
    train("", 2)
    assert [line for line in said.lines if "log_dir" in line] == [
        "WARNING:tensorflow:log_dir is '': nothing is saved, no checkpoint either."
    ]
