"""The example on placeholders: new values in each step, in the training and in its validation."""

import re
import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "placeholders.py"


def test_points_come_through_placeholders_and_are_told_apart(tmp_path, caplog):
    found = runpy.run_path(str(EXAMPLE))["main"](tmp_path)
    assert found["trained"].steps == 120
    assert found["drop_rates_left"] == 0  # one was taken in each of the 120 steps
    assert found["evaluated"].metrics["accuracy"] > 0.95
    validations = re.findall(r"\[VALIDATION METRICS\] step: (\d+) loss: \S+ accuracy: (\S+)", caplog.text)
    assert [step for step, _ in validations] == ["39", "79", "119"]
    # the last one has the weights of the checkpoint, and the same 300 points
    assert validations[-1][1] == f"{found['evaluated'].metrics['accuracy']:.3f}"
    assert found["refusal"].startswith("nobody feeds the placeholders 'scale' that model_fn made in TRAIN. ")
    assert not (tmp_path / "refused").exists()
