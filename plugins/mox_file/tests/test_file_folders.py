"""Folders: made, listed, walked through, removed, renamed, on each kind of store."""

import os

import pytest

import mox_core as mox
from mox_file import file

FILES = {"a.txt": "1", "sub/b.txt": "22", "sub/deep/c.bin": "333"}


@pytest.fixture
def tree(base):
    file.make_dirs(f"{base}/tree/sub/deep")
    file.make_dirs(f"{base}/tree/empty")
    for name, text in FILES.items():
        file.write(f"{base}/tree/{name}", text)
    return f"{base}/tree"


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_that_was_made_exists_and_is_empty(base, end):
    file.make_dirs(f"{base}/one/two{end}")
    file.make_dirs(f"{base}/one/two{end}")  # again: nothing happens
    assert file.exists(f"{base}/one/two{end}")
    assert file.is_directory(f"{base}/one{end}")
    assert file.list_directory(f"{base}/one{end}") == ["two"]
    assert file.list_directory(f"{base}/one/two{end}") == []


def test_a_file_is_none_with_a_slash_at_its_end(tree):
    assert file.exists(f"{tree}/a.txt")
    assert not file.exists(f"{tree}/a.txt/")
    assert not file.is_directory(f"{tree}/a.txt")
    assert not file.is_directory(f"{tree}/a.txt/")
    assert not file.exists(f"{tree}/missing")


def test_mk_dir_wants_the_folder_above(base):
    file.mk_dir(f"{base}/one")
    assert file.is_directory(f"{base}/one")
    with pytest.raises(OSError, match=r"make_dirs makes both"):
        file.mk_dir(f"{base}/two/three")
    assert not file.exists(f"{base}/two")


def test_a_folder_is_not_made_where_a_file_is(tree):
    for url in (f"{tree}/a.txt", f"{tree}/a.txt/below"):
        with pytest.raises(file.MoxFileNameDuplicateException):
            file.make_dirs(url)
    assert file.read(f"{tree}/a.txt") == "1"


def test_a_bucket_is_made_if_it_is_named_and_not_by_a_folder_in_it(s3):
    file.make_dirs(f"s3://{s3}-more")
    assert file.list_directory(f"s3://{s3}-more/") == []
    for change in (file.make_dirs, lambda url: file.write(url, "x")):
        with pytest.raises(file.MoxFileNotExistsException):
            change(f"s3://{s3}-misspelt/folder")
    assert not file.exists(f"s3://{s3}-misspelt")


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_is_listed_with_and_without_what_is_below(tree, end):
    assert file.list_directory(tree + end) == ["a.txt", "empty", "sub"]
    assert file.list_directory(tree + end, remove_sep=False) == ["a.txt", "empty/", "sub/"]
    assert file.list_directory(tree + end, skip_dir=True) == ["a.txt"]
    everything = ["a.txt", "empty", "sub", "sub/b.txt", "sub/deep", "sub/deep/c.bin"]
    assert file.list_directory(tree + end, recursive=True) == everything
    assert file.list_directory(tree + end, recursive=True, skip_file=True) == ["empty", "sub", "sub/deep"]


def test_a_file_is_not_listed(tree):
    with pytest.raises(NotADirectoryError, match=r"^\[Errno 20\] Not a directory: "):
        file.list_directory(f"{tree}/a.txt")


def test_the_size_of_a_folder_is_told_if_recursive(tree, log):
    assert file.get_size(f"{tree}/sub/b.txt") == 2
    assert file.get_size(tree, recursive=True) == 1 + 2 + 3
    assert log() == []
    assert file.get_size(tree) == 0
    assert "is 0 without recursive=True" in log()[0]


def test_stat_says_length_time_and_kind(tree):
    found = file.stat(f"{tree}/sub/deep/c.bin")
    assert (found.length, found.is_directory) == (3, False)
    assert found.mtime_nsec > 1_600_000_000 * 10**9
    assert file.stat(f"{tree}/sub/").is_directory


def test_glob_gives_absolute_paths(tree):
    assert file.glob(f"{tree}/*.txt") == [f"{tree}/a.txt"]
    assert file.glob(f"{tree}/*/*.txt") == [f"{tree}/sub/b.txt"]
    assert file.glob(f"{tree}/**/c.*") == [f"{tree}/sub/deep/c.bin"]
    assert file.glob(f"{tree}/nothing*") == []


def test_scan_dir_has_the_entries_of_os_scandir(tree):
    with file.scan_dir(f"{tree}/") as entries:
        found = {entry.name: entry for entry in entries}
    assert {name: entry.is_dir() for name, entry in found.items()} == {"a.txt": False, "empty": True, "sub": True}
    assert found["a.txt"].is_file()
    assert os.fspath(found["a.txt"]) == found["a.txt"].path == f"{tree}/a.txt"
    assert found["a.txt"].stat().length == 1


@pytest.mark.parametrize("topdown", [True, False])
def test_walk_goes_the_way_of_os_walk(tree, topdown):
    walked = [(top, sorted(folders), files) for top, folders, files in file.walk(tree, topdown=topdown)]
    expected = {
        tree: (["empty", "sub"], ["a.txt"]),
        f"{tree}/empty": ([], []),
        f"{tree}/sub": (["deep"], ["b.txt"]),
        f"{tree}/sub/deep": ([], ["c.bin"]),
    }
    assert {top: (folders, files) for top, folders, files in walked} == expected
    assert walked[0 if topdown else -1][0] == tree


def test_walk_leaves_out_the_folders_that_are_taken_out_and_tells_of_missing_ones(tree):
    tops = []
    for top, folders, _ in file.walk(tree):
        tops.append(top)
        if "sub" in folders:
            folders.remove("sub")
    assert tops == [tree, f"{tree}/empty"]
    told = []
    assert list(file.walk(f"{tree}/missing", onerror=told.append)) == []
    assert [type(error).__mro__.index(OSError) >= 0 for error in told] == [True]


def test_remove_takes_a_file_and_with_recursive_a_folder(tree, log):
    file.remove(f"{tree}/a.txt")
    file.remove(f"{tree}/sub/deep/c.bin", recursive=True)
    file.remove(tree)
    file.remove(f"{tree}/sub")
    file.remove(f"{tree}/sub/")
    file.remove(f"{tree}/sub/b.txt/")
    assert file.list_directory(tree, recursive=True) == ["empty", "sub", "sub/b.txt", "sub/deep"]
    assert [line.split(": ")[2] for line in log()] == [
        *["it is a folder, which recursive=True removes."] * 3,
        "it is a file, and its name ends without a slash.",
    ]
    file.remove(f"{tree}/empty/", recursive=True)
    file.remove(f"{tree}/sub", recursive=True)
    file.remove(tree, recursive=True)
    assert not file.exists(tree)


def test_a_name_that_only_begins_like_a_folder_is_not_removed_with_it(tree):
    file.write(f"{tree}/subway", "kept")
    file.remove(f"{tree}/sub", recursive=True)
    assert file.list_directory(tree) == ["a.txt", "empty", "subway"]


def test_rename_moves_files_and_folders(tree):
    file.rename(f"{tree}/a.txt", f"{tree}/moved.txt")
    file.rename(f"{tree}/moved.txt", f"{tree}/empty")  # into the folder
    file.rename(f"{tree}/sub", f"{tree}/other")
    assert file.list_directory(tree, recursive=True, skip_dir=True) == [
        "empty/moved.txt",
        "other/b.txt",
        "other/deep/c.bin",
    ]
    assert not file.exists(f"{tree}/sub")
    with pytest.raises(file.MoxFileNameDuplicateException):
        file.rename(f"{tree}/other", f"{tree}/empty")
    with pytest.raises(mox.UsageError, match="into itself"):
        file.rename(f"{tree}/other", f"{tree}/other/deep/er")
    with pytest.raises(file.MoxFileNotExistsException):
        file.rename(f"{tree}/missing", f"{tree}/x")


def test_rename_moves_between_stores(tree, tmp_path):
    file.rename(tree, tmp_path / "here")
    assert not file.exists(tree)
    assert (tmp_path / "here/sub/deep/c.bin").read_text() == "333"
    assert (tmp_path / "here/empty").is_dir()
    file.rename(tmp_path / "here/a.txt", f"{tree}/back/a.txt")
    assert file.read(f"{tree}/back/a.txt") == "1"
    assert not (tmp_path / "here/a.txt").exists()
