"""examples/learning_rates.py: the learning rates of chapter 5 of the manual."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "learning_rates.py"
STEPS_PER_EPOCH, STEPS = 50, 400

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return runpy.run_path(str(EXAMPLE))["main"](tmp_path_factory.mktemp("learning_rates"))


def staged(step):
    """2: 0.02->0.2, 5: 0.2=>0.02, 6.5: 0.02, 8: 0.002"""
    epoch = step / STEPS_PER_EPOCH
    if epoch < 2:
        return 0.02 + 0.18 * epoch / 2
    if epoch < 5:
        return 0.2 * 0.1 ** ((epoch - 2) / 3)
    return 0.02 if epoch < 6.5 else 0.002


def decayed(height):
    def rate(step):
        if step < 100:
            return 0.002 + 0.198 * step / 100
        return 0.002 + 0.198 * height(min(1, (step - 100) / 260))

    return rate


EXPECTED = {
    "piecewise_lr": staged,
    "linear_cosine_decay": decayed(lambda part: (1 + math.cos(math.pi * part)) / 2),
    "polynomial_decay": decayed(lambda part: (1 - part) ** 2),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_rates_of_the_epochs_are_told(name, found):
    expected = [EXPECTED[name](epoch * STEPS_PER_EPOCH) for epoch in range(9)]
    np.testing.assert_allclose(found[name]["epochs"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_rates_in_the_summaries_are_those_of_their_steps_in_both_runs(name, found):
    logged = found[name]["logged"]
    assert len(logged) >= STEPS // 10
    assert max(logged) > STEPS // 3 + 10, "the run that went on"
    np.testing.assert_allclose(list(logged.values()), [EXPECTED[name](step) for step in logged], rtol=1e-5)


@pytest.mark.parametrize("name", EXPECTED)
def test_it_learns_to_read_digits(name, found):
    assert found[name]["accuracy"] > 0.9  # chance is 0.1; 8 epochs reach 0.94 to 0.95


def test_a_typing_error_is_shown_with_its_place(found):
    text, caret = found["typing error"].splitlines()[1:3]
    assert text[caret.index("^") :] == ">0.02"
