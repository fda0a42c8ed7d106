"""Errors of mox as scripts and pytest show them: the user's lines and one message, whichever name raises them."""

import subprocess
import sys

import pytest

import mox_core as mox
from mox_core import serving

WRONG = {
    "optimizer": lambda: mox.get_optimizer_fn("adamm"),
    "attribute": lambda: mox.LogEvaluationMetricHok,
    "key": lambda: mox.NetworkKeys.RESNET_V1_51,
    "spec": lambda: mox.ExportSpec({"x": 1}, {"y": 1}, class_names="abc"),
    "hook": lambda: mox.LogEvaluationMetricHook({}, 0, 0, 0),
    "images": lambda: mox.ImageClassificationRawMetadata(base_dir="nothing"),
    "records": lambda: mox.ImageClassificationTFRecordMetadata("nothing", "*.tfrecord"),
    "split": lambda: mox.split_image_classification_dataset({"a": 0.5, "b": 0.5}, "nothing", dst_dir="parts"),
    "export": lambda: serving.load("nothing"),
    "run": lambda: mox.run(epochs=3),
}


def _shown(call, capsys):
    try:
        call()
    except mox.MoxError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    return capsys.readouterr().err


@pytest.mark.parametrize("name", WRONG)
def test_a_script_that_ends_by_an_error_shows_its_own_lines(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = _shown(WRONG[name], capsys)
    files = [line.split('"')[1] for line in shown.splitlines() if line.startswith('  File "')]
    assert files == [__file__, __file__]  # _shown, and the line of the call
    assert shown.count("Traceback") == 1
    assert "mox_core.errors." in shown


def test_who_asks_for_it_sees_the_lines_of_mox_too(capsys, monkeypatch):
    monkeypatch.setenv("MOX_FULL_TRACEBACK", "1")
    assert "catalog.py" in _shown(WRONG["optimizer"], capsys)


def test_what_the_user_caught_before_stays_in_sight(capsys):
    def call():
        try:
            {}["of the user"]
        except KeyError as error:
            raise mox.UsageError("what it means") from error

    shown = _shown(call, capsys)
    assert "KeyError: 'of the user'" in shown
    assert "direct cause" in shown


def test_an_error_of_the_user_in_a_run_shows_no_line_of_mox(capsys):
    def input_fn(mode):
        return missing, mode  # noqa: F821

    def model_fn(inputs, mode):
        del inputs, mode

    try:
        mox.run(input_fn=input_fn, model_fn=model_fn, optimizer_fn=dict, run_mode="TRAIN", max_number_of_steps=1)
    except NameError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    shown = capsys.readouterr().err
    files = [line.split('"')[1] for line in shown.splitlines() if line.startswith('  File "')]
    assert files == [__file__, __file__]


def test_a_test_that_fails_by_an_error_shows_its_own_lines(tmp_path):
    script = tmp_path / "test_of_a_user.py"
    script.write_text("import mox_core as mox\n\n\ndef test_it():\n    mox.get_optimizer_fn('adamm')\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "E       mox_core.errors.UnknownNameError: unknown optimizer 'adamm'." in done.stdout
    assert "\ntest_of_a_user.py:5: UnknownNameError\n" in done.stdout
    assert "catalog.py" not in done.stdout
