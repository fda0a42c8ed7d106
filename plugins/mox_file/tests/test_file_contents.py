"""Files read, written and appended to, on each kind of store."""

import io
import json
import pickle

import numpy as np
import pytest

import mox_core as mox
from mox_file import file

TEXT = "第一行\nsecond line\n"


def test_text_and_bytes_come_back_as_they_were_written(base):
    file.write(f"{base}/a/text.txt" if "://" in base else f"{base}/text.txt", TEXT)
    url = file.glob(f"{base}/*text.txt" if "://" not in base else f"{base}/a/*.txt")[0]
    assert file.read(url) == TEXT
    assert file.read(url, "r") == TEXT  # as MoXing's maintainers advised
    assert file.read(url, binary=True) == file.read(url, "rb") == TEXT.encode()
    file.write(f"{base}/bytes", b"\x00\xff", binary=True)
    assert file.read(f"{base}/bytes", binary=True) == b"\x00\xff"
    file.write(f"{base}/bytes", "shorter", binary=True)
    assert file.read(f"{base}/bytes") == "shorter"


def test_bytes_that_are_no_text_are_refused_with_the_way_out(base):
    file.write(f"{base}/bytes", b"\xff\xfe\xfd")
    with pytest.raises(UnicodeDecodeError, match=r"bytes' is no text in UTF-8: .*binary=True"):
        file.read(f"{base}/bytes")


def test_what_is_neither_text_nor_bytes_is_not_written(base):
    with pytest.raises(TypeError, match="is dict; it must be str or bytes"):
        file.write(f"{base}/a", {"a": 1})
    assert not file.exists(f"{base}/a")


def test_append_adds_to_a_file_and_makes_a_missing_one(base):
    file.append(f"{base}/log", "one\n")
    file.append(f"{base}/log", b"two\n")
    file.write(f"{base}/more", "three\n")
    file.append_remote(f"{base}/more", f"{base}/log")
    assert file.read(f"{base}/log") == "one\ntwo\nthree\n"
    file.append_remote(f"{base}/log", f"{base}/new")
    assert file.read(f"{base}/new") == "one\ntwo\nthree\n"
    with pytest.raises(mox.UsageError, match="to itself"):
        file.append_remote(f"{base}/log", f"{base}/log")


def test_a_file_is_read_by_lines_characters_and_places(base):
    file.write(f"{base}/lines", "ab\ncd\nef")
    with file.File(f"{base}/lines") as opened:
        assert (opened.name, opened.mode, opened.isatty(), opened.closed) == (f"{base}/lines", "r", False, False)
        assert (opened.readable(), opened.writable(), opened.seekable()) == (True, False, True)
        assert (opened.readline(), opened.next(), opened.read(1), opened.size()) == ("ab\n", "cd\n", "e", 8)
        assert opened.read() == "f"
        with pytest.raises(StopIteration):
            opened.next()
        opened.seek(3)
        assert opened.readlines() == ["cd\n", "ef"]
    assert opened.closed
    with file.File(f"{base}/lines", "br") as opened:
        assert (list(opened), opened.mode) == ([b"ab\n", b"cd\n", b"ef"], "rb")
        assert opened.seek(-2, io.SEEK_END) == opened.tell() - 0 == 6
        assert opened.readline(1) == b"e"
        with pytest.raises(io.UnsupportedOperation):
            opened.write(b"x")


@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [
        ("w", "", "new"),
        ("a", "old content", "old contentnew"),
        ("r+", "old content", "new content"),
        ("w+", "", "new"),
        ("a+", "old content", "old contentnew"),
    ],
)
@pytest.mark.parametrize("suffix", ["", "b"])
def test_each_mode_does_what_open_does(base, mode, suffix, before, after):
    kind = (lambda text: text.encode()) if suffix else str
    file.write(f"{base}/x", "old content")
    with file.File(f"{base}/x", suffix + mode) as opened:
        if "+" in mode:
            opened.seek(0)
            assert opened.read() == kind(before)
            opened.seek(0)
        else:
            with pytest.raises(io.UnsupportedOperation):
                opened.read()
        assert opened.write(kind("new")) == 3
        assert opened.size() == len(after)
    assert file.read(f"{base}/x") == after


def test_a_file_with_plus_is_seen_by_others_after_flush(base):
    with file.File(f"{base}/x", "a") as opened:
        opened.writelines(["one", "two"])
        opened.flush()
        assert file.read(f"{base}/x") == "onetwo"
        opened.write("three")
    assert file.read(f"{base}/x") == "onetwothree"


def test_a_file_of_several_parts_is_written_and_knows_its_size(base):
    with file.File(f"{base}/big", "wb") as opened:
        for number in range(52):  # s3fs uploads parts of 50 MiB
            opened.write(bytes([number]) * 2**20)
        assert opened.size() == 52 * 2**20
    with file.File(f"{base}/big", "rb") as opened:
        opened.seek(51 * 2**20 - 1)
        assert opened.read(2) == bytes([50, 51])
    assert file.get_size(f"{base}/big") == 52 * 2**20


@pytest.mark.parametrize("mode", ["", "rw", "x", "r++", "U", 3])
def test_a_mode_that_open_would_not_take_is_refused(mode):
    with pytest.raises(mox.UsageError, match="it must be r, w or a"):
        file.File("memory://x", mode)


def test_numpy_pickle_and_json_read_and_write_an_open_file(base):
    array = np.arange(12.0).reshape(3, 4)
    with file.File(f"{base}/a.npy", "wb") as opened:
        np.save(opened, array)
    with file.File(f"{base}/a.npy", "rb") as opened:
        np.testing.assert_array_equal(np.load(opened), array)
    with file.File(f"{base}/a.pkl", "wb") as opened:
        pickle.dump({"a": [1, 2]}, opened)
    with file.File(f"{base}/a.pkl", "rb") as opened:
        assert pickle.load(opened) == {"a": [1, 2]}  # noqa: S301  (our own)
    with file.File(f"{base}/a.json", "w") as opened:
        json.dump({"a": 1}, opened)
    with file.File(f"{base}/a.json") as opened:
        assert json.load(opened) == {"a": 1}


@pytest.mark.parametrize("read", [file.read, file.stat, file.get_size, file.list_directory, file.scan_dir, file.remove])
def test_a_path_where_nothing_is_is_an_error_of_its_own(base, read):
    with pytest.raises(file.MoxFileNotExistsException) as raised:
        read(f"{base}/nothing")
    assert isinstance(raised.value, FileNotFoundError)
    assert raised.value.filename == f"{base}/nothing"
    assert "nothing" in str(raised.value)


def test_a_folder_is_neither_read_nor_written_as_a_file(base):
    file.make_dirs(f"{base}/folder")
    file.write(f"{base}/x", "x")
    for mode in ("r", "w", "a"):
        with pytest.raises(IsADirectoryError, match="folder"):
            file.File(f"{base}/folder", mode)
    with pytest.raises(IsADirectoryError, match="a name of its own"):
        file.write(f"{base}/new/", "x")
    with pytest.raises(NotADirectoryError):
        file.read(f"{base}/x/")
    assert file.read(f"{base}/x") == "x"


def test_a_local_file_in_a_missing_folder_says_how_to_make_it(tmp_path):
    with pytest.raises(file.MoxFileNotExistsException, match=r"mox\.file\.make_dirs makes it"):
        file.write(tmp_path / "missing" / "x", "x")
