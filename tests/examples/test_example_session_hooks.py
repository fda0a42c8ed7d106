"""The example on hooks: what its hooks saw of a training whose end they chose, and of one that failed."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "session_hooks.py"


def test_the_hooks_keep_a_diary_ask_the_model_and_stop_it(tmp_path, capsys):
    found = runpy.run_path(str(EXAMPLE))["main"](tmp_path)
    assert found["result"].stopped_by == "StopWhenGood"
    steps = found["result"].steps
    assert 25 < steps < 1000

    diary = (tmp_path / "diary.txt").read_text().splitlines()
    assert diary[0] == "begins with the slope 0.00"
    assert [int(re.match(r"step (\d+): loss", line)[1]) for line in diary[1:-1]] == list(range(0, steps, 25))
    slope, offset = map(float, re.search(r"y = (\S+) x \+ (\S+)", diary[-2]).groups())
    assert (slope, offset) == (pytest.approx(3, abs=0.2), pytest.approx(-1, abs=0.2))
    assert diary[-1] == "ends as planned"

    assert list(found["answers"]) == list(range(0, steps, 50))
    assert found["answers"][50] == pytest.approx(10 * 3 - 1, abs=2)

    assert re.match(r"loss is (inf|nan) at global step \d+: training stops", found["failure"])
    assert (tmp_path / "failed.txt").read_text().endswith("\nis cut short\n")
    assert "Stopped by StopWhenGood after" in capsys.readouterr().out
