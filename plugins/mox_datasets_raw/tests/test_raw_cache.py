"""Local copies: made whole, used again, renewed when the original changes, removed at the end."""

import os

import pytest
import tensorflow as tf
from PIL import Image

from mox_core.errors import UsageError
from mox_datasets_raw.classification import ImageClassificationRawDataset, ImageClassificationRawMetadata


@pytest.fixture
def meta(flowers):
    return ImageClassificationRawMetadata(flowers)


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_every_file_is_copied_when_it_is_first_read(meta, flowers, tmp_path, elements):
    dataset = ImageClassificationRawDataset(
        meta, num_epochs=1, cache_dir=tmp_path / "cache", remove_cache_on_finish=False
    )
    assert len(elements(dataset)) == 9
    assert files_below(tmp_path / "cache") == files_below(flowers)
    (folder,) = (tmp_path / "cache").iterdir()
    for path in flowers.glob("*/*"):
        assert (folder / path.relative_to(flowers)).read_bytes() == path.read_bytes()


def test_images_come_from_the_copies_once_these_are_there(meta, flowers, tmp_path, elements):
    dataset = ImageClassificationRawDataset(meta, num_epochs=1, shuffle=False, cache_dir=tmp_path / "cache")
    before = elements(dataset)
    for path in flowers.glob("*/*"):
        known = path.stat()
        path.write_bytes(bytes(known.st_size))  # the same size and time of change: only the content tells
        os.utime(path, ns=(known.st_mtime_ns, known.st_mtime_ns))
    after = elements(dataset)
    assert [element["image"].tobytes() for element in before] == [element["image"].tobytes() for element in after]


def test_zeros_at_the_end_of_a_file_are_kept(tmp_path, elements):
    Image.new("RGB", (30, 20)).save(tmp_path / "black.bmp")
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "black.bmp").rename(tmp_path / "set" / "a" / "black.bmp")
    meta = ImageClassificationRawMetadata(tmp_path / "set")
    (element,) = elements(ImageClassificationRawDataset(meta, num_epochs=1, cache_dir=tmp_path / "cache"))
    assert element["image"].shape == (20, 30, 3)


def test_env_stands_for_the_folder_in_the_environment(meta, tmp_path, monkeypatch, elements):
    monkeypatch.setenv("DLS_LOCAL_CACHE_PATH", str(tmp_path / "local"))
    elements(ImageClassificationRawDataset(meta, num_epochs=1, cache_dir="ENV"))
    assert len(files_below(tmp_path / "local")) == 9


def test_env_without_the_variable_is_refused(meta, monkeypatch):
    monkeypatch.delenv("DLS_LOCAL_CACHE_PATH", raising=False)
    with pytest.raises(UsageError) as caught:
        ImageClassificationRawDataset(meta, cache_dir="ENV")
    assert str(caught.value) == (
        "cache_dir is 'ENV' and the environment variable DLS_LOCAL_CACHE_PATH is not set. "
        "Set it, or give the path of a folder."
    )


def test_where_no_copy_can_be_made_files_are_read_all_the_same_with_one_warning(meta, tmp_path, caplog, elements):
    (tmp_path / "cache").write_text("a file where a folder should be")
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    try:
        found = elements(ImageClassificationRawDataset(meta, num_epochs=1, cache_dir=tmp_path / "cache"))
    finally:
        logger.removeHandler(caplog.handler)
    assert len(found) == 9
    assert len({line for line in caplog.messages if "files are read without a copy in cache_dir" in line}) == 1
