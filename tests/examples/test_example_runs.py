"""examples/runs.py: the rules of chapter 6 of the manual."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from checkpoints import values_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "runs.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def found(folder):
    return runpy.run_path(str(EXAMPLE))["main"](folder)


def test_a_run_does_what_its_checkpoint_lacks_of_the_steps(found):
    assert [(found[run].steps, found[run].global_step) for run in ("first", "again", "more")] == [
        (200, 200),
        (0, 200),
        (100, 300),
    ]


def test_an_evaluation_of_data_in_order_gives_the_same_figures_twice(found):
    first, second = found["evaluations"]
    assert first == second
    assert first["accuracy"] > 0.85  # chance is 0.1; 300 steps of 50 reach more than 0.9


def test_the_mean_of_an_evaluation_is_that_of_all_samples_the_short_last_batch_included(found, folder):
    weights = values_of(folder / "digits" / "model.ckpt-300")
    example = runpy.run_path(str(EXAMPLE))
    images, labels = example["PIXELS"][example["HELD_OUT"]] / 255, example["LABELS"][example["HELD_OUT"]]
    hidden = np.maximum(images @ weights["hidden/kernel"] + weights["hidden/bias"], 0)
    right = np.argmax(hidden @ weights["logits_10/kernel"] + weights["logits_10/bias"], axis=1) == labels
    assert len(right) == 500  # 7 batches of 64, and one of 52
    assert found["evaluations"][0]["accuracy"] == pytest.approx(right.mean(), abs=1e-6)


def test_fine_tuning_moves_only_what_the_pattern_names(found, folder):
    before, after = values_of(folder / "digits" / "model.ckpt-300"), values_of(found["parity"].checkpoint)
    np.testing.assert_array_equal(before["hidden/kernel"], after["hidden/kernel"])
    assert "logits_2/kernel" not in before
    assert after["logits_2/kernel"].shape == (64, 2)
    assert after["global_step"] == 100
    assert found["parity_evaluation"]["accuracy"] > 0.75  # chance is 0.5
