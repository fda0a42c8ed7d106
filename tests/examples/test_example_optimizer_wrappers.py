"""examples/optimizer_wrappers.py: chapter 5.2 of the manual."""

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "optimizer_wrappers.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return runpy.run_path(str(EXAMPLE))["main"](tmp_path_factory.mktemp("optimizer_wrappers"))


def test_eight_small_batches_train_as_a_large_one_and_count_every_step(found):
    large, small = found["batches of 128"], found["8 batches of 16"]
    assert (large["steps"], small["steps"]) == (100, 800)
    for name in ("hidden/kernel", "hidden/bias", "logits/kernel", "logits/bias", "logits/kernel/Momentum"):
        np.testing.assert_allclose(small["values"][name], large["values"][name], atol=1e-5, err_msg=name)


def test_each_learns_to_read_digits(found):
    # Chance is 0.1; 100 updates reach 0.89 to 0.92.
    assert {name: run["accuracy"] > 0.85 for name, run in found.items()} == dict.fromkeys(found, True)
    assert len(found) == 4


def test_the_checkpoint_holds_what_the_wrappers_remember(found):
    stack = found["momentum, LARS, 8 batches of 16"]["values"]
    assert {"hidden/kernel/Momentum", "hidden/kernel/batch_gradients", "batch_gradients/count"} <= stack.keys()
    assert stack["batch_gradients/count"] == 0
    elastic = found["EASGD"]["values"]
    distance = np.linalg.norm(elastic["hidden/kernel"] - elastic["hidden/kernel/easgd_center"])
    assert 0.01 < distance < np.linalg.norm(elastic["hidden/kernel"])
