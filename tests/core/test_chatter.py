"""What TensorFlow's C++ says at each start, in processes of their own: it is said once a process."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import mox_core
import tensorflow as tf
tf.constant(1) + 1
print("E0000 of the user's own", file=sys.stderr)
"""


def stderr_of(script, monkeypatch, level):
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("level", [None, "3"])
def test_a_start_says_nothing_of_the_machine(monkeypatch, level):
    assert stderr_of(SCRIPT, monkeypatch, level) == (0, "E0000 of the user's own\n")


def test_a_user_who_asks_for_it_gets_all(monkeypatch):
    code, said = stderr_of(SCRIPT, monkeypatch, "0")
    assert code == 0
    assert "oneDNN custom operations are on" in said


def test_what_goes_wrong_in_the_import_of_tensorflow_is_shown(monkeypatch, tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'of its own\\n')\nraise ImportError('no such library')\n"
    )
    code, said = stderr_of(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{SCRIPT}", monkeypatch, None)
    assert code == 1
    assert said.startswith("of its own\n")
    assert said.endswith("ImportError: no such library\n")


def test_where_tensorflow_is_imported_first_its_first_look_at_the_devices_is_left_out(monkeypatch):
    script = """
import sys
import tensorflow as tf
print("tensorflow is imported", file=sys.stderr)
import mox_core
tf.constant(1) + 1
"""
    code, said = stderr_of(script, monkeypatch, None)
    assert code == 0
    assert said.endswith("tensorflow is imported\n")
