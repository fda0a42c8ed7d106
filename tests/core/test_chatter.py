"""What TensorFlow's C++ says at each start and of each odd image, in processes of their own: most is said once."""

import signal
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


DAMAGED = """
import io
import sys
import numpy as np
from PIL import Image
import mox_core
import tensorflow as tf
from mox_core.engine.tf_patches.run_scope import run_scope

def jpeg(damage):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, [64, 64, 3], np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    content = bytearray(file.getvalue())
    middle = len(content) // 2
    content[middle : middle + len(damage)] = damage
    return bytes(content)

def read(damage):
    try:
        tf.io.decode_jpeg(jpeg(damage))
    except tf.errors.InvalidArgumentError:
        print("refused", file=sys.stderr)

with run_scope():
    read(bytes.fromhex("ffc8"))  # a kind of compression in the middle of the image: it cannot be read
    read(bytes.fromhex("ffd3"))  # a mark that is not expected there: it is read, with a warning
print("behind the run", file=sys.stderr)
read(bytes.fromhex("ffd3"))
"""


def test_what_libjpeg_says_of_damaged_images_is_left_out_of_a_run_and_of_nothing_else(monkeypatch):
    code, said = stderr_of(DAMAGED, monkeypatch, None)
    during, _, behind = said.partition("behind the run\n")
    assert (code, during) == (0, "refused\n")
    assert behind.startswith("Corrupt JPEG data: ")


def test_who_asks_for_it_gets_what_libjpeg_says(monkeypatch):
    _, said = stderr_of(DAMAGED, monkeypatch, "1")
    assert "Corrupt JPEG data: " in said.partition("behind the run\n")[0]


def test_other_lines_of_c_come_at_once_also_those_of_a_process_that_dies(monkeypatch):
    script = """
import ctypes
import threading
from mox_core.c_stderr import left_out

libc = ctypes.CDLL(None)

def say(text):
    libc.fprintf(ctypes.c_void_p.in_dll(libc, "stderr"), b"%s", text)

with left_out(b"one "):
    with left_out(b"two ", b"one "):
        say(b"one gone\\ntwo gone\\nthree stays\\n")
        thread = threading.Thread(target=say, args=[b"two gone, in a thread\\n"])
        thread.start()
        thread.join()
    say(b"one gone\\ntwo stays\\n")
say(b"one stays\\n")
with left_out(b"one "):
    libc.__assert_fail(b"last words", b"here.c", 1, b"main")
"""
    code, said = stderr_of(script, monkeypatch, None)
    assert code == -signal.SIGABRT
    assert said.startswith("three stays\ntwo stays\none stays\n")
    assert said.count("last words") == 1
