"""The example on fine-tuning: what was learned before helps where there are few images."""

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "fine_tuning.py"


@pytest.mark.slow
def test_each_way_of_fine_tuning_finds_more_than_a_training_from_nothing(tmp_path):
    found = runpy.run_path(str(EXAMPLE))["main"](tmp_path)
    tuned = ("a new head", "all, the head five times as fast", "block after block")
    assert all(found[name] > found["from nothing"] + 0.03 for name in tuned), found
