"""Local copies of files, which the data sets of images and of records share."""

import hashlib
import os
import tempfile

import pytest

from mox_core.datasets.file_cache import FileCache, cache_folder, default_cache_folder
from mox_core.datasets.whole_files import whole_file
from mox_core.errors import DataError, UsageError


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def original(tmp_path):
    path = tmp_path / "set" / "a" / "1.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"content")
    return path


@pytest.fixture
def cache(tmp_path):
    return FileCache(str(tmp_path / "cache"), str(tmp_path / "set"), remove_on_finish=False)


def test_the_folder_of_the_copies_has_the_name_of_the_root_and_a_digest_of_its_path(cache, original, tmp_path):
    digest = hashlib.blake2b(os.fsencode(tmp_path / "set"), digest_size=8).hexdigest()
    assert cache.folder == tmp_path / "cache" / f"set-{digest}"
    assert cache.place(original) == cache.folder / "a" / "1.png"


@pytest.mark.parametrize("how", ["read", "copy"])
def test_a_copy_has_content_size_and_time_of_its_original_until_this_changes(cache, original, how):
    assert not cache.holds(original)
    for content in (b"first", b"second, longer"):
        original.write_bytes(content)
        assert not cache.holds(original)
        if how == "copy":
            cache.copy(original)
        assert cache.read(bytes(original)) == content
        assert cache.holds(original)
        assert cache.place(original).read_bytes() == content
        assert cache.place(original).stat().st_mtime_ns == original.stat().st_mtime_ns
    assert files_below(cache.folder) == ["1.png"]


def test_data_sets_of_the_same_name_do_not_share_copies(tmp_path):
    for side in ("left", "right"):
        (tmp_path / side / "train" / "a").mkdir(parents=True)
        (tmp_path / side / "train" / "a" / "1.png").write_text(side)
        cache = FileCache(str(tmp_path / "cache"), str(tmp_path / side / "train"), remove_on_finish=False)
        os.utime(tmp_path / side / "train" / "a" / "1.png", (0, 0))
        assert cache.read(bytes(tmp_path / side / "train" / "a" / "1.png")) == side.encode()


@pytest.mark.parametrize("given", [None, ""])
def test_env_without_the_variable_is_refused(monkeypatch, given):
    monkeypatch.setenv("DLS_LOCAL_CACHE_PATH", "/local")
    assert (cache_folder("ENV"), cache_folder("folder")) == ("/local", "folder")
    if given is None:
        monkeypatch.delenv("DLS_LOCAL_CACHE_PATH")
    else:
        monkeypatch.setenv("DLS_LOCAL_CACHE_PATH", given)
    with pytest.raises(UsageError, match="environment variable DLS_LOCAL_CACHE_PATH is not set"):
        cache_folder("ENV")


def test_copies_of_what_is_on_a_store_have_a_folder_of_this_user(monkeypatch, tmp_path):
    monkeypatch.setenv("DLS_LOCAL_CACHE_PATH", "/local")
    assert default_cache_folder() == "/local"
    monkeypatch.delenv("DLS_LOCAL_CACHE_PATH")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / f"mox-{os.getuid()}-data"
    assert default_cache_folder() == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(DataError, match=r"data', where copies of data are to be kept, is another user's. Set TMPDIR."):
        default_cache_folder()
    with pytest.raises(UsageError, match="cache_dir is 's3://bucket/a'; it must be a folder of this machine"):
        cache_folder("s3://bucket/a")


def test_a_file_whose_writing_fails_is_not_there(tmp_path):
    def fail():
        with whole_file(tmp_path / "folder" / "file", suffix=".npz") as temporary:
            assert temporary.suffix == ".npz"
            temporary.write_bytes(b"half of it")
            raise RuntimeError("no space")

    with pytest.raises(RuntimeError, match="no space"):
        fail()
    assert files_below(tmp_path) == []
