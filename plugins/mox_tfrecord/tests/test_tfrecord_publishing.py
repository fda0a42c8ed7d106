"""Records appear whole or not at all, take the place of others only where that is said, and of nothing else."""

import os
import signal
import sys
import threading

import pytest
import tensorflow as tf
from PIL import Image

import forked
import mox_core as mox
from mox_core.datasets.whole_sets import whole_set
from mox_core.errors import DataError
from mox_tfrecord import writing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def number_of_records(files):
    return sum(1 for _ in tf.data.TFRecordDataset([str(file) for file in files]))


@pytest.fixture
def flowers(tmp_path):
    """Three classes of an image each."""
    for name in ("daisy", "roses", "tulips"):
        (tmp_path / "flowers" / name).mkdir(parents=True)
        Image.new("RGB", (3, 2)).save(tmp_path / "flowers" / name / "1.png")
    return tmp_path / "flowers"


def test_records_that_exist_are_refused_unless_they_may_be_replaced(flowers, many, dst):
    mox.write_image_classification_tfrecords(flowers, dst, num_shards=3)
    before = {path.name: path.read_bytes() for path in dst.iterdir()}
    with pytest.raises(DataError) as caught:
        mox.write_image_classification_tfrecords(flowers, dst, num_shards=2)
    assert str(caught.value) == (
        f"dst_dir {str(dst)!r} has records named 'train' already: 'train-00000-of-00003.tfrecord', "
        "'train-00001-of-00003.tfrecord', 'train-00002-of-00003.tfrecord'. "
        "overwrite=True (--overwrite) replaces them; records of another name can stand beside them."
    )
    assert {path.name: path.read_bytes() for path in dst.iterdir()} == before
    written = mox.write_image_classification_tfrecords(many, dst, num_shards=2, overwrite=True)
    assert names(dst) == ["labels.txt", "train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"]
    assert number_of_records(written.files) == 80
    assert (dst / "labels.txt").read_text("utf-8") == "0: a\n1: b\n"


def test_records_of_another_name_stand_beside_them_if_the_classes_are_the_same(flowers, many, dst):
    mox.write_image_classification_tfrecords(flowers, dst)
    mox.write_image_classification_tfrecords(flowers, dst, name="train-small")
    assert len(names(dst)) == 3
    for overwrite in (False, True):
        with pytest.raises(DataError) as caught:
            mox.write_image_classification_tfrecords(many, dst, name="eval", overwrite=overwrite)
        assert str(caught.value) == (
            f"{str(dst / 'labels.txt')!r} has the classes 'daisy', 'roses', 'tulips' (3), "
            "and src_dir has 'a', 'b' (2): records in one folder share their classes. Give another dst_dir, or lay a "
            "copy of that labels.txt beside the class folders of src_dir if only the order differs."
        )
    assert len(names(dst)) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
import mox_core as mox
from mox_tfrecord import writing

where, renames, rename, read_image = sys.argv[3], 0, Path.rename, writing.read_image
def kill_in_publishing(path, target):
    global renames
    if where == str(renames):
        os.kill(os.getpid(), signal.SIGKILL)
    renames += 1
    return rename(path, target)
def kill_in_reading(path, max_side):
    if where == "reading" and path.endswith("7.png"):
        os.kill(os.getpid(), signal.SIGKILL)
    return read_image(path, max_side)
Path.rename, writing.read_image = kill_in_publishing, kill_in_reading
mox.write_image_classification_tfrecords(sys.argv[1], sys.argv[2], num_shards=3, seed=5, overwrite=True)
"""


# Of the old set, 2 shards and labels.txt go, of the new one 3 shards and labels.txt come.
@pytest.mark.parametrize("where", ["reading", 2, 5])
def test_a_writer_that_is_killed_is_undone_by_the_next_one(many, dst, log, where):
    mox.write_image_classification_tfrecords(many, dst, num_shards=2)
    before = {path.name: path.read_bytes() for path in dst.iterdir()}
    process = forked.run([sys.executable, "-c", KILLED, str(many), str(dst), str(where)], check=False)
    assert process.returncode == -signal.SIGKILL
    (left,) = [name for name in names(dst) if name.startswith(".train-unfinished-")]
    if where != "reading":  # neither set is whole
        with pytest.raises(DataError):
            mox.BaseTFRecordMetadata(dst, "train-*")
    log.clear()
    with pytest.raises(DataError, match="has records named 'train' already"):
        mox.write_image_classification_tfrecords(many, dst)
    assert {path.name: path.read_bytes() for path in dst.iterdir()} == before
    assert log.messages == [f"Removed {left!r} in {str(dst)!r}, which an unfinished write had left"]


def test_two_writers_of_a_name_do_not_sweep_each_other_up(many, dst):
    with whole_set(dst, "train") as other:
        with pytest.raises(DataError, match=r"^another process is writing 'train' into '.*', in '\.train-unfinished-"):
            mox.write_image_classification_tfrecords(many, dst)
        mox.write_image_classification_tfrecords(many, dst, name="eval")
        assert other.folder.is_dir()
    assert names(dst) == ["eval-00000-of-00001.tfrecord", "labels.txt"]


def test_overwrite_replaces_records_and_their_labels_and_no_other_things(many, dst):
    dst.mkdir()
    (dst / "labels.txt").write_text("0: of\n1: the\n2: user\n")
    with pytest.raises(
        DataError, match=r"labels\.txt' has the classes 'of', 'the', 'user' \(3\), and src_dir has 'a', 'b'"
    ):
        mox.write_image_classification_tfrecords(many, dst, overwrite=True)
    (dst / "labels.txt").unlink()
    (dst / "train-00000-of-00001.tfrecord").mkdir()
    (dst / "train-00000-of-00001.tfrecord" / "notes").touch()
    with pytest.raises(
        DataError, match=r"of-00001\.tfrecord' has the name of a record and is a folder, which mox does"
    ):
        mox.write_image_classification_tfrecords(many, dst, overwrite=True)
    assert (dst / "train-00000-of-00001.tfrecord" / "notes").exists()


def test_ctrl_c_leaves_nothing(many, dst, monkeypatch):
    received, read_image = threading.Event(), writing.read_image

    def receive(*_):
        received.set()
        raise KeyboardInterrupt

    def interrupt(path, max_side):
        if path == str(many / "b" / "7.png"):
            os.kill(os.getpid(), signal.SIGINT)
            received.wait()  # this image is not read before the writer has been interrupted
        return read_image(path, max_side)

    monkeypatch.setattr(writing, "read_image", interrupt)
    before = signal.signal(signal.SIGINT, receive)
    try:
        with pytest.raises(KeyboardInterrupt):
            mox.write_image_classification_tfrecords(many, dst, num_shards=4)
    finally:
        signal.signal(signal.SIGINT, before)
    assert names(dst) == []
