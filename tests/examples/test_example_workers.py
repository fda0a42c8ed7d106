"""examples/workers.py: the same script in one process and in a job of several."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "workers.py"


@pytest.fixture
def run_example(tmp_path):
    """Runs the script by `mox launch`, and returns what it printed."""

    def run(*options, flags=()):
        command = [sys.executable, "-m", "mox_core.cli", "launch", *options, EXAMPLE, f"--train_url={tmp_path}/log"]
        done = subprocess.run(
            list(map(str, [*command, *flags])), capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.mark.slow
def test_two_workers_learn_the_digits_and_agree_on_how_well(run_example, tmp_path):
    told = re.findall(
        r"worker (\d) \| accuracy on 500 held-back digits: (\d\.\d+)",
        run_example("--workers", 2, flags=["--batch_size=25", "--steps=150"]),
    )
    assert sorted(worker for worker, _ in told) == ["0", "1"]
    assert told[0][1] == told[1][1]
    assert float(told[0][1]) > 0.85  # chance is 0.1
    assert (tmp_path / "log" / "model.ckpt-150.index").is_file()
