"""Scripts of TensorFlow 1, run as a user runs them."""

import sys
import textwrap

import pytest

import forked


@pytest.fixture
def tf1(tmp_path):
    """Write a script and run `python -m mox_tf1` on it in a folder of its own; returns the finished process."""

    def run(text, *arguments, options=(), rc=0, name="train.py"):
        script = tmp_path / name
        script.write_text(textwrap.dedent(text), "utf-8")
        command = [sys.executable, "-m", "mox_tf1", *map(str, options), str(script), *map(str, arguments)]
        done = forked.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == rc, done.stdout + done.stderr
        return done

    return run
