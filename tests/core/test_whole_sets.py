"""Sets of files that appear together or not at all, whenever the process that makes them is killed."""

import subprocess
import sys

import pytest

from mox_core.datasets.whole_sets import undo_unfinished, whole_set
from mox_core.errors import DataError

# A child for each call of the system that changes something, which dies in its place; another one then undoes, and dies
# in its turn; a last one undoes for good.
PROGRAM = """
import os, shutil, sys
from pathlib import Path
from mox_core.datasets.whole_sets import undo_unfinished, whole_set

target = Path(sys.argv[1])
BEFORE = {"labels": "old", "set-1": "old", "mine": "mine"}
AFTER = {"labels": "new", "set-2": "new", "set-3": "new", "mine": "mine"}

def make():
    with whole_set(target, "set") as made:
        for name in ("labels", "set-2", "set-3"):
            (made.folder / name).write_text("new")
        made.publish(["labels", "set-1"])

def dying_at(moment, action):
    child = os.fork()
    if child == 0:
        calls = 0
        def dying(call):
            def called(*arguments, **options):
                nonlocal calls
                calls += 1
                if calls == moment:
                    os._exit(9)
                return call(*arguments, **options)
            return called
        for name in ("rename", "unlink", "rmdir", "mkdir"):
            setattr(os, name, dying(getattr(os, name)))
        action()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def state():
    return {path.name: path.read_text() for path in target.iterdir() if not path.is_dir()}

seen, moment, status = set(), 0, 9
while status == 9:
    moment, second, status_2 = moment + 1, 0, 9
    while status_2 == 9:
        second += 1
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for name, text in BEFORE.items():
            (target / name).write_text(text)
        status = dying_at(moment, make)
        status_2 = dying_at(second, lambda: undo_unfinished(target, "set"))
        undo_unfinished(target, "set")
        assert state() in (BEFORE, AFTER), (moment, second, state())
        assert not list(target.glob(".*")), (moment, second)
        seen.add((state() == AFTER, status))
print(sorted(seen), moment > 10)
"""


def test_a_set_is_there_or_not_whenever_its_maker_and_who_undoes_it_are_killed(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "target")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr[-2000:]) == ("[(False, 9), (True, 0), (True, 9)] True\n", "")


def test_a_set_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "a").write_text("old")

    def fail():
        with whole_set(tmp_path, "set") as made:
            (made.folder / "a").write_text("new")
            (made.folder / "b").mkdir()
            (tmp_path / "b").mkdir()
            (tmp_path / "b" / "mine").touch()
            made.publish(["a"])

    with pytest.raises(OSError, match="not empty"):
        fail()
    assert (tmp_path / "a").read_text() == "old"
    assert sorted(path.name for path in tmp_path.glob("**/*")) == ["a", "b", "mine"]


def test_a_set_that_is_being_made_is_not_undone(tmp_path):
    with whole_set(tmp_path, "set") as made:
        with pytest.raises(
            DataError, match=r"^another process is writing 'set' into '.*', in '\.set-unfinished-.*' there"
        ):
            undo_unfinished(tmp_path, "set")
        assert undo_unfinished(tmp_path, "other") == []
        assert made.folder.is_dir()
    assert undo_unfinished(tmp_path, "set") == []
