"""Python's own functions with URLs."""

import builtins
import glob
import io
import os
import shutil

import pytest

import mox_core as mox
from mox_file import file


@pytest.fixture
def shifted():
    before = builtins.open, os.listdir, os.path.exists, shutil.rmtree
    file.shift("os", "mox")
    file.shift("os", "mox")  # again: nothing happens
    yield
    file.shift("mox", "os")
    assert (builtins.open, os.listdir, os.path.exists, shutil.rmtree) == before


@pytest.mark.usefixtures("shifted")
def test_a_script_of_open_os_shutil_and_glob_runs_on_each_store(base):
    os.makedirs(f"{base}/logs/deep")
    os.makedirs(f"{base}/logs/deep", exist_ok=True)
    with pytest.raises(FileExistsError):
        os.makedirs(f"{base}/logs/deep")
    os.mkdir(f"{base}/one")
    with open(os.path.join(base, "logs", "a.txt"), "w", encoding="utf-8") as opened:
        opened.write("text")
    with io.open(f"{base}/logs/a.txt", "rb") as opened:  # noqa: UP020
        assert opened.read() == b"text"
    assert sorted(os.listdir(f"{base}/logs")) == ["a.txt", "deep"]
    assert (os.path.exists(f"{base}/logs"), os.path.isdir(f"{base}/logs"), os.path.isfile(f"{base}/logs")) == (1, 1, 0)
    assert os.path.getsize(f"{base}/logs/a.txt") == os.stat(f"{base}/logs/a.txt").st_size == 4
    assert glob.glob(f"{base}/logs/*.txt") == [f"{base}/logs/a.txt"]
    assert [entry.name for entry in os.scandir(f"{base}/one")] == []
    shutil.copy(f"{base}/logs/a.txt", f"{base}/one")
    shutil.copytree(f"{base}/logs", f"{base}/copy")
    shutil.move(f"{base}/copy", f"{base}/one")
    os.rename(f"{base}/one/a.txt", f"{base}/one/b.txt")
    found = {top[len(base) :]: sorted(files) for top, _, files in os.walk(base)}
    assert found == {
        "": [],
        "/logs": ["a.txt"],
        "/logs/deep": [],
        "/one": ["b.txt"],
        "/one/copy": ["a.txt"],
        "/one/copy/deep": [],
    }
    os.remove(f"{base}/one/b.txt")
    shutil.rmtree(f"{base}/logs")
    assert os.listdir(base) == ["one"]
    shutil.rmtree(f"{base}/missing", ignore_errors=True)
    with pytest.raises(OSError):  # noqa: PT011  (which one depends on the store)
        shutil.rmtree(f"{base}/missing")


@pytest.mark.usefixtures("shifted")
def test_an_encoding_that_remote_files_do_not_have_is_refused():
    with pytest.raises(mox.UsageError, match="'gbk'"):
        open("memory://x", encoding="gbk")  # noqa: SIM115


def test_shift_takes_two_names():
    with pytest.raises(mox.UsageError, match=r"shift\('os', 'mox'\)"):
        file.shift("tf", "mox")
