"""The classes of docs/testing-plugins.md are tests that pass."""

import os
import re
import sys
from pathlib import Path

import pytest

import forked

PAGE = Path(__file__).parents[2] / "docs/testing-plugins.md"


@pytest.mark.slow
def test_the_classes_of_the_page_pass(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    tests = [block for block in blocks if "check(" not in block]
    assert sum(block.count("Contract):") for block in tests) == 9  # one of each kind
    (tmp_path / "test_page.py").write_text("\n".join(tests), encoding="utf-8")
    run = forked.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--strict-markers",
            "-m",
            "not slow",
            "--rootdir",
            tmp_path,
            tmp_path,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " skipped" in run.stdout  # the optimizer has no bad_options
