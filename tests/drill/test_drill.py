"""A short form of the drill; `make drill` is the long one."""

import re
import sys
from pathlib import Path

import pytest

import forked


@pytest.mark.slow
def test_nothing_is_lost_by_kills_damage_second_runs_and_full_disks(tmp_path):
    program = Path(__file__).with_name("drill.py")
    arguments = ["--kills", "8", "--flips", "100", "--times", "1"]
    done = forked.run(
        [sys.executable, program, tmp_path, *arguments], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    counts = dict(re.findall(r"^(\S.*?)  +(\d+)  +0 ", done.stdout, re.MULTILINE))
    assert counts == {
        "1 replica": "2", "2 replicas": "2", "2 workers": "2", "parameter server": "2",
        "damaged bytes": "100", "two runs at once": "1", "no room on the disk": "1",
    }  # fmt: skip
