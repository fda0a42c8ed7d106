"""examples/distillation.py: two networks in one model, each from a checkpoint of its own."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from checkpoints import values_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "distillation.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distillation")


@pytest.fixture(scope="module")
def found(folder):
    return runpy.run_path(str(EXAMPLE))["main"](folder)


def test_the_student_learns_more_from_the_teacher_than_from_its_labels(found):
    assert found["teacher"] > 0.9
    assert found["student alone"] + 0.05 < found["student of the teacher"] < found["teacher"] + 0.02


@pytest.mark.usefixtures("found")
def test_the_teacher_stays_as_it_is_and_the_student_begins_where_it_was(folder):
    distilled = values_of(folder / "distilled")
    teacher = values_of(folder / "teacher")
    ours = {name.removeprefix("teacher/"): each for name, each in distilled.items() if name.startswith("teacher/")}
    assert set(ours) == {
        *("hidden/kernel", "hidden/bias", "logits/kernel", "logits/bias"),
        *("norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"),
    }
    for name, value in ours.items():
        np.testing.assert_array_equal(value, teacher[name], err_msg=name)
    first, alone = values_of(folder / "distilled" / "model.ckpt-0"), values_of(folder / "alone")
    np.testing.assert_array_equal(first["student/hidden/kernel"], alone["hidden/kernel"])
    assert not np.array_equal(distilled["student/hidden/kernel"], alone["hidden/kernel"])
