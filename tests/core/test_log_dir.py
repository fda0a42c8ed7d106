"""The folder of a run: who may write into it, and what is refused before TensorFlow is imported."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import mox_core as mox
from mox_core import file_lock
from mox_core.log_dir import LOCK, hold

HOLDER = """
import os, signal, sys
from pathlib import Path
from mox_core.log_dir import hold

with hold(Path(sys.argv[1]), saves=True, exports=False):
    reader, writer = os.pipe()
    child = os.fork() if "fork" in sys.argv else -1
    if child == 0:
        os.write(writer, b"forked")  # it has given up what it has not taken
    elif child > 0:
        os.read(reader, 6)
    if child:
        print(child, flush=True)
    signal.pause()
"""

RUN = """
import sys
import mox_core as mox

try:
    mox.run(
        input_fn=lambda mode: 0,
        model_fn=lambda inputs, mode: None,
        optimizer_fn=lambda: None,
        run_mode=mox.ModeKeys.TRAIN,
        log_dir=sys.argv[1],
    )
except mox.LogDirError as error:
    print("tensorflow" in sys.modules, error)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds a log_dir as a training does; returns it, and what it has forked."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, tmp_path / "log", *arguments], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process, int(process.stdout.readline())

    yield start
    for each in started:
        each.kill()
        each.wait()
        each.stdout.close()


def _run(log_dir):
    done = subprocess.run([sys.executable, "-c", RUN, log_dir], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _train(log_dir):
    return hold(log_dir, saves=True, exports=False)


def test_a_second_training_is_refused_by_name_before_tensorflow_is_imported(holder, tmp_path):
    process, _ = holder()
    since = json.loads((tmp_path / "log" / LOCK).read_text(encoding="utf-8"))["since"]
    assert _run(tmp_path / "log") == (
        f"False log_dir '{tmp_path}/log' is in use by another run: process {process.pid} on machine "
        f"'{socket.gethostname()}', since {since}. Two runs would remove each other's checkpoints: end that one, or "
        "give this one a log_dir of its own. EVAL and PREDICT may go on beside a training."
    )
    for exports in (False, True):  # as they do
        with hold(tmp_path / "log", saves=False, exports=exports):
            pass
    with _train(tmp_path / "other"):
        pass


@pytest.mark.parametrize("forked", [False, True], ids=["alone", "with a child that lives on"])
def test_what_a_killed_process_leaves_locks_nobody_out(forked, holder, tmp_path, caplog):
    process, child = holder(*(["fork"] if forked else []))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "log" / LOCK).exists()
    try:
        with _train(tmp_path / "log"):
            named = json.loads((tmp_path / "log" / LOCK).read_text(encoding="utf-8"))
            assert named["pid"] == os.getpid()
    finally:
        if forked:
            os.kill(child, signal.SIGKILL)
    assert caplog.messages == []


@pytest.mark.parametrize("left", ["", "\0\0", "[1]", '{"pid": "no number", "machine": 1, "since": "x"}', "[" * 5000])
def test_a_lock_file_that_says_nothing_is_no_lock(left, tmp_path):
    (tmp_path / LOCK).write_text(left, encoding="utf-8")
    with _train(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text(encoding="utf-8"))["pid"] == os.getpid()


def test_what_another_machine_left_is_said_and_locks_nobody_out(tmp_path, caplog):
    left = {"pid": 7, "machine": "over\nthere", "since": "2001-02-03 04:05:06 UTC"}
    (tmp_path / LOCK).write_text(json.dumps(left), encoding="utf-8")
    with _train(tmp_path):
        pass
    (said,) = caplog.messages
    assert said == (
        f"the last run in log_dir '{tmp_path}' was not ended by itself: process 7 on machine 'over\\nthere', since "
        "2001-02-03 04:05:06 UTC. Its lock is gone, so it is taken for dead; where that machine does not share locks "
        "with this one, see to it."
    )


def test_a_run_in_the_same_process_is_refused_until_the_first_has_ended_in_whichever_way(tmp_path):
    def fail():
        with _train(tmp_path / "log"):
            with pytest.raises(mox.LogDirError, match=rf"in use by another run: process {os.getpid()} on"):
                _train(tmp_path / "log").__enter__()
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fail()
    assert list(tmp_path.iterdir()) == [], "a run that has written nothing leaves nothing"


def test_a_run_that_ends_leaves_what_it_has_written_and_no_lock(tmp_path):
    with _train(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "model").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", "model"]


def test_a_run_that_has_a_relative_folder_may_change_to_another_one(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with _train(Path("log")):
        monkeypatch.chdir(tmp_path / "elsewhere")
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


def test_a_lock_whose_folder_is_gone_or_another_one_is_not_in_place(tmp_path):
    with _train(tmp_path / "log") as lock:
        assert lock.is_in_place()
        (tmp_path / "log").rename(tmp_path / "moved")
        assert not lock.is_in_place()
        with _train(tmp_path / "log") as other:
            assert other.is_in_place()
            assert not lock.is_in_place()


def test_of_many_that_want_a_lock_at_once_one_has_it(tmp_path):
    """Each removes its file when it is done, which must not give the lock to two others."""

    def contend():
        for _ in range(300):
            lock = file_lock.take(tmp_path / "lock")
            if isinstance(lock, file_lock.FileLock):
                os.close(os.open(tmp_path / "alone", os.O_CREAT | os.O_EXCL))
                (tmp_path / "alone").unlink()
                lock.release()

    children = []
    for _ in range(4):
        if not (pid := os.fork()):
            code = 1
            try:
                contend()
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0, 0]


@pytest.mark.parametrize("where", ["a file", "below a file"])
def test_a_log_dir_that_cannot_be_a_folder_is_refused_with_the_reason(where, tmp_path):
    (tmp_path / "file").touch()
    log_dir = tmp_path / "file" / "log" if where == "below a file" else tmp_path / "file"
    imported, _, said = _run(log_dir).partition(" ")
    assert imported == "False"
    assert said == f"log_dir '{log_dir}' cannot be read: Not a directory ('{log_dir}')."


def _without_privileges(function):
    """Returns what a function says in a process to which the rights of files apply."""
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            os.write(writer, str(function()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    os.waitpid(pid, 0)
    return text


def test_a_folder_without_the_right_to_write_is_refused_where_something_would_be_written():
    def outcome(log_dir, **options):
        try:
            with hold(log_dir, **options):
                return "held"
        except mox.LogDirError as error:
            return error

    with tempfile.TemporaryDirectory(prefix="mox-test-") as name:
        folder = Path(name)
        folder.chmod(0o555)
        ask = [
            _without_privileges(lambda: outcome(folder, saves=True, exports=False)),
            _without_privileges(lambda: outcome(folder / "new" / "log", saves=True, exports=False)),
            _without_privileges(lambda: outcome(folder, saves=False, exports=True)),
            _without_privileges(lambda: outcome(folder, saves=False, exports=False)),
        ]
        folder.chmod(0o700)
    refused = "cannot be written: Permission denied ("
    assert ask[0].startswith(f"log_dir '{folder}' {refused}'{folder}/{LOCK}'). Give another one, or none to write")
    assert ask[1].startswith(f"log_dir '{folder}/new/log' {refused}'{folder}/new').")
    assert ask[2].startswith(f"log_dir '{folder}' {refused}")
    assert ask[3] == "held"


def test_a_lock_that_another_user_left_locks_nobody_out():
    with tempfile.TemporaryDirectory(prefix="mox-test-") as name:
        folder = Path(name)
        (folder / LOCK).touch(0o444)
        folder.chmod(0o777)

        def take():
            with hold(folder, saves=True, exports=False):
                return json.loads((folder / LOCK).read_text(encoding="utf-8"))["pid"]

        assert _without_privileges(take).isdecimal()
        assert list(folder.iterdir()) == []


def test_a_log_dir_that_is_no_path_or_a_link_to_nothing_is_refused_in_words(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(mox.UsageError, match="no path holds a zero byte"):
        mox.run(input_fn=print, model_fn=print, run_mode=mox.ModeKeys.EVAL, log_dir="a\0b")
    with (
        pytest.raises(mox.LogDirError, match=r"/link' is a link to '.*/nowhere', which is not there"),
        hold(tmp_path / "link", saves=True, exports=False),
    ):
        pass
