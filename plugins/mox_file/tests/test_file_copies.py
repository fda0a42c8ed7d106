"""Copies between each kind of store and a local disk, and within each."""

import os
import subprocess
import sys

import pytest

import mox_core as mox
from mox_file import file

FILES = {"a.txt": b"1", "sub/b.bin": bytes(range(256)) * 40, "sub/deep/c": b""}


@pytest.fixture
def here(tmp_path):
    """A local folder with files."""
    for name, data in FILES.items():
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "here/empty").mkdir()
    return tmp_path / "here"


def contents(url):
    names = file.list_directory(url, recursive=True, skip_dir=True)
    return {name: file.read(f"{url}/{name}", binary=True) for name in names}


@pytest.mark.parametrize("options", [{}, {"threads": 0, "is_processing": False}, {"threads": 2, "use_queue": False}])
def test_the_content_of_a_folder_goes_there_and_back(base, here, tmp_path, options):
    file.copy_parallel(f"{here}/", f"{base}/there/", **options)
    assert contents(f"{base}/there") == FILES
    assert file.list_directory(f"{base}/there/empty") == []
    file.copy_parallel(f"{base}/there", f"{base}/again", **options)
    file.write(f"{base}/again/mine", "stays")
    file.copy_parallel(f"{base}/there", f"{base}/again", **options)
    assert contents(f"{base}/again") == FILES | {"mine": b"stays"}
    file.copy_parallel(f"{base}/again", tmp_path / "new/back", **options)
    assert contents(tmp_path / "new/back") == FILES | {"mine": b"stays"}
    assert (tmp_path / "new/back/empty").is_dir()
    leftovers = [name for name in os.listdir(tmp_path / "new/back") if name.startswith(".")]
    assert leftovers == []


def test_copy_parallel_copies_a_single_file(base, here, tmp_path):
    file.copy_parallel(f"{here}/sub/b.bin", f"{base}/data.tar")
    file.copy_parallel(f"{base}/data.tar", tmp_path / "cache/data.tar")
    assert (tmp_path / "cache/data.tar").read_bytes() == FILES["sub/b.bin"]
    file.copy_parallel(f"{base}/data.tar", f"{tmp_path}/folder/")
    assert (tmp_path / "folder/data.tar").read_bytes() == FILES["sub/b.bin"]


def test_only_the_files_of_file_list_are_copied(base, here):
    file.copy_parallel(here, f"{base}/there", file_list=["./a.txt", "sub/deep/c"])
    assert contents(f"{base}/there") == {"a.txt": FILES["a.txt"], "sub/deep/c": b""}
    with pytest.raises(file.MoxFileNotExistsException, match=r"1 of the files .* \('missing'\)"):
        file.copy_parallel(here, f"{base}/other", file_list=["a.txt", "missing"])
    assert not file.exists(f"{base}/other")


def test_an_empty_folder_is_copied_with_a_word(base, tmp_path, log):
    (tmp_path / "empty").mkdir()
    file.copy_parallel(tmp_path / "empty", f"{base}/there")
    assert file.list_directory(f"{base}/there") == []
    assert "no files to copy" in log()[0]
    with pytest.raises(file.MoxFileNotExistsException):
        file.copy_parallel(f"{base}/missing", tmp_path / "x")


def test_copy_copies_a_file_and_makes_missing_folders(base, here):
    file.copy(f"{here}/a.txt", f"{base}/new/a.txt")
    file.copy(f"{base}/new/a.txt", f"{base}/b.txt")
    file.copy(f"{base}/b.txt", f"{base}/new")
    file.copy(f"{base}/b.txt", f"{base}/newer/")
    file.copy(f"{base}/b.txt", f"{base}/b.txt")  # to itself: it stays
    assert contents(base) == dict.fromkeys(["b.txt", "new/a.txt", "new/b.txt", "newer/b.txt"], b"1")
    with pytest.raises(IsADirectoryError, match=r"copy_parallel copies folders"):
        file.copy(f"{base}/new", f"{base}/x")


def test_a_folder_is_not_copied_into_itself_nor_over_a_file(base, here):
    file.copy_parallel(here, f"{base}/there")
    with pytest.raises(mox.UsageError, match="cannot be copied into itself"):
        file.copy_parallel(f"{base}/there", f"{base}/there/sub")
    file.copy_parallel(f"{base}/there", f"{base}/there/")  # to itself: it stays
    with pytest.raises(file.MoxFileNameDuplicateException):
        file.copy_parallel(here, f"{base}/there/a.txt")
    assert contents(f"{base}/there") == FILES


def test_a_failing_copy_is_raised_and_leaves_the_old_file(base, here, tmp_path):
    file.copy_parallel(here, f"{base}/there")
    (tmp_path / "back/a.txt").mkdir(parents=True)  # where a file is to go
    with pytest.raises(IsADirectoryError):
        file.copy_parallel(f"{base}/there", tmp_path / "back")
    assert (tmp_path / "back/a.txt").is_dir()


def test_a_pipe_is_refused_and_not_waited_for(base, here):
    os.mkfifo(here / "pipe")
    with pytest.raises(mox.UsageError, match="pipe' cannot be copied"):
        file.copy_parallel(here, f"{base}/there")


def test_threads_that_are_no_number_are_refused():
    with pytest.raises(mox.UsageError, match="threads"):
        file.copy_parallel("memory://a", "memory://b", threads=-1)


def test_a_copy_in_the_background_follows_the_folder_to_its_last_state(base, here, log):
    sync = file.background_sync_copy(here, f"{base}/there", seconds=3600)
    sync.stop()
    assert contents(f"{base}/there") == FILES
    sync = file.background_sync_copy(here, f"{base}/there", seconds=1e-3)
    (here / "a.txt").write_bytes(b"changed")
    (here / "new").write_bytes(b"new")
    sync.stop()
    assert contents(f"{base}/there") == FILES | {"a.txt": b"changed", "new": b"new"}
    assert log() == []


def test_a_program_that_ends_copies_what_is_left(s3, s3_endpoint, here, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint.replace("127.0.0.1", "localhost"))
    program = (
        "import sys\nfrom mox_file import file\nfile.background_sync_copy(sys.argv[1], sys.argv[2], seconds=3600)\n"
        "with open(sys.argv[1] + '/last', 'w') as opened: opened.write('word')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, here, f"s3://{s3}/there"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(f"s3://{s3}/there") == FILES | {"last": b"word"}


def test_a_file_that_cannot_be_copied_is_told_and_the_others_are_copied(base, here, log):
    file.make_dirs(f"{base}/there/a.txt")
    file.background_sync_copy(here, f"{base}/there", seconds=3600).stop()
    assert contents(f"{base}/there") == {name: data for name, data in FILES.items() if name != "a.txt"}
    assert len(log()) == 1
    assert "a.txt is not copied" in log()[0]
