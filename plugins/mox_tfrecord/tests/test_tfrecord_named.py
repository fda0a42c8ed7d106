"""The published data sets that `mox.get_dataset` finds in a folder."""

import gzip
import io
import os
import pickle
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox
from mox_core.errors import DataError, UsageError
from mox_core.testing import DatasetContract


def idx(array):
    """An idx file, as Yann LeCun's page describes it: zeros, the type, the number of dimensions, their sizes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def digits(number, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, [number, 28, 28], np.uint8), random.integers(0, 10, number).astype(np.uint8)


def write_idx(folder, split, number, *, form="{}-ubyte", pack=bytes, seed=0):
    images, labels = digits(number, seed)
    (folder / form.format(f"{split}-images-idx3")).write_bytes(pack(idx(images)))
    (folder / form.format(f"{split}-labels-idx1")).write_bytes(pack(idx(labels)))
    return images, labels


def photographs(number, seed=0):
    """Rows of CIFAR-10: a label, then the red, the green and the blue pixels."""
    random = np.random.default_rng(seed)
    return np.concatenate(
        [random.integers(0, 10, [number, 1], np.uint8), random.integers(0, 256, [number, 3072], np.uint8)], axis=1
    )


def write_records(path, images, labels):
    """Records with slim's features."""
    with tf.init_scope(), tf.io.TFRecordWriter(str(path)) as writer:
        for image, label in zip(images, labels, strict=True):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "png")
            values = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[file.getvalue()])),
                "image/format": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"png"])),
                "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                "image/class/text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"kind %d" % label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString())


@pytest.fixture
def read(batches):
    """Images and labels of one epoch of a named data set, in their order."""

    def arrays(name, split, folder, keys=("image", "label")):
        def input_fn(_mode):
            dataset = mox.get_dataset(
                name=name, split_name=split, dataset_dir=str(folder), capacity=80, shuffle=False, num_epochs=1
            )
            return dataset.get(list(keys))

        return [np.stack(values) for values in zip(*batches(input_fn), strict=True)]

    return arrays


def test_the_metadata_names_the_splits_in_the_order_of_use():
    for name, classes, splits in (
        ("mnist", 10, {"train": 60_000, "test": 10_000}),
        ("cifar10", 10, {"train": 50_000, "test": 10_000}),
        ("flowers", 5, {"train": 3320, "validation": 350}),
        ("imagenet", 1001, {"train": 1_281_167, "validation": 50_000}),
    ):
        meta = mox.get_dataset_meta(name)
        assert meta.num_classes == classes
        assert list(meta.splits_to_sizes.items()) == list(splits.items())


@pytest.mark.parametrize(
    ("form", "pack"), [("{}-ubyte", bytes), ("{}-ubyte.gz", gzip.compress), ("{}-ubyte", gzip.compress)]
)
def test_digits_are_read_from_idx_files(tmp_path, read, said, form, pack):
    write_idx(tmp_path, "t10k", 5, form=form, pack=pack, seed=1)
    images, labels = write_idx(tmp_path, "train", 7, form=form, pack=pack)
    found = read("mnist", "train", tmp_path)
    assert found[0].dtype == np.uint8
    assert found[1].dtype == np.int64
    np.testing.assert_array_equal(found[0], images[..., np.newaxis])
    np.testing.assert_array_equal(found[1], labels)
    assert f"WARNING: split 'train' of mnist has 60000 images, and {str(tmp_path)!r} holds 7: all of these are" in str(
        said
    )
    np.testing.assert_array_equal(read("mnist", "test", tmp_path)[1], digits(5, 1)[1])


def test_digits_under_the_other_spelling_and_in_records(tmp_path, read):
    images, labels = digits(4)
    (tmp_path / "train-images.idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(labels))
    np.testing.assert_array_equal(read("mnist", "train", tmp_path)[0][..., 0], images)
    write_records(tmp_path / "mnist_test.tfrecord", images[::-1], labels[::-1].tolist())
    found = read("mnist", "test", tmp_path)
    np.testing.assert_array_equal(found[0], images[::-1, ..., np.newaxis])
    np.testing.assert_array_equal(found[1], labels[::-1])


def test_photographs_are_read_from_binary_batches_here_and_in_the_folder_of_their_archive(tmp_path, read):
    rows = [photographs(3, seed) for seed in range(6)]
    inner = tmp_path / "archive" / "cifar-10-batches-bin"
    inner.mkdir(parents=True)
    for number, own in enumerate(rows[:5], start=1):
        (inner / f"data_batch_{number}.bin").write_bytes(own.tobytes())
    (inner / "test_batch.bin").write_bytes(rows[5].tobytes())
    for folder in (inner, tmp_path / "archive"):
        images, labels = read("cifar10", "train", folder)
        np.testing.assert_array_equal(labels, np.concatenate(rows[:5])[:, 0])
        for number in (0, 14):  # the green of row 3, column 5 stands behind the whole red plane
            row = np.concatenate(rows[:5])[number]
            assert images[number, 3, 5].tolist() == [row[1 + plane * 1024 + 3 * 32 + 5] for plane in range(3)]
    assert read("cifar10", "test", inner)[1].tolist() == rows[5][:, 0].tolist()
    (inner / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_4\.bin of CIFAR-10"):
        read("cifar10", "train", inner)


def in_python_2(rows):
    """A batch as Python 2 has pickled it: keys are strings of bytes, arrays by a name that NumPy has moved since."""
    pixels = pickle.dumps(np.ascontiguousarray(rows[:, 1:]), 2)[2:-1]
    pixels = pixels.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    labels = pickle.dumps(rows[:, 0].tolist(), 2)[2:-1]
    return b"\x80\x02}(U\x04data" + pixels + b"U\x06labels" + labels + b"u."


def test_photographs_are_read_from_the_batches_of_python_and_nothing_in_them_is_run(tmp_path, read):
    rows = photographs(4)
    for content in (in_python_2(rows), pickle.dumps({b"data": rows[:, 1:], b"labels": rows[:, 0].tolist()})):
        (tmp_path / "test_batch").write_bytes(content)
        images, labels = read("cifar10", "test", tmp_path)
        np.testing.assert_array_equal(images.transpose(0, 3, 1, 2).reshape(4, -1), rows[:, 1:])
        np.testing.assert_array_equal(labels, rows[:, 0])

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(DataError, match=r"is no batch of CIFAR-10: UnpicklingError: it asks for posix\.mkdir"):
        read("cifar10", "test", tmp_path)
    assert not (tmp_path / "made").exists()


def test_imagenet_is_read_from_the_shards_of_slim_with_their_labels(tmp_path, read, said):
    images = np.random.default_rng(0).integers(0, 256, [5, 6, 4, 3], np.uint8)
    for part, own in enumerate((slice(0, 2), slice(2, 5))):
        write_records(tmp_path / f"train-{part:05}-of-00002", images[own], [1, 1000, 7, 8, 9][own])
    write_records(tmp_path / "validation-00000-of-00001", images[:1], [3])
    found = read("imagenet", "train", tmp_path, ["image", "label", "label_desc"])
    np.testing.assert_array_equal(found[0], images)
    assert found[1].tolist() == [1, 1000, 7, 8, 9]  # counted from 1: 0 is the background
    assert found[2].tolist() == [b"kind 1", b"kind 1000", b"kind 7", b"kind 8", b"kind 9"]
    assert "WARNING: num_samples is 1281167, and the files hold 5 records: all of these are read." in said
    assert read("imagenet", "validation", tmp_path)[1].tolist() == [3]
    (tmp_path / "train-00001-of-00002").unlink()
    with pytest.raises(DataError, match=r"of the records 'train-\*-of-00002' in .*, 1 of 2 shards are missing: 1\."):
        read("imagenet", "train", tmp_path)


def test_flowers_are_read_from_the_shards_of_slim_with_the_names_in_its_labels(tmp_path, read):
    images = np.random.default_rng(0).integers(0, 256, [3, 4, 5, 3], np.uint8)
    write_records(tmp_path / "flowers_validation_00000-of-00001.tfrecord", images, [4, 0, 2])
    (tmp_path / "labels.txt").write_text("0:daisy\n1:dandelion\n2:roses\n3:sunflowers\n4:tulips\n", encoding="utf-8")
    found = read("flowers", "validation", tmp_path, ["image", "label", "label_desc"])
    np.testing.assert_array_equal(found[0], images)
    assert found[1].tolist() == [4, 0, 2]
    assert found[2].tolist() == [b"tulips", b"daisy", b"roses"]


def test_what_is_no_such_data_set_is_told(tmp_path):
    for name in ("mnist", "cifar10", "flowers", "imagenet"):
        with pytest.raises(UsageError, match=rf"^split_name of data set '{name}' is 'eval'; it must be 'train' or '"):
            mox.get_dataset(name, "eval", str(tmp_path))
        with pytest.raises(DataError, match=r"^there is no folder .*nowhere', where data set .* is to be\. Nothing is"):
            mox.get_dataset(name, "train", str(tmp_path / "nowhere"))
        with pytest.raises(DataError, match=r"holds no records named '.*train.* It is empty\. Nothing is fetched"):
            mox.get_dataset(name, "train", str(tmp_path))
        with pytest.raises(UsageError, match=r"capacity of data set .* is 0; it must be a whole number from 1"):
            mox.get_dataset(name, "train", str(tmp_path), capacity=0)


def test_what_is_wrong_with_the_files_is_told(tmp_path):
    def refused(words, files):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=words):
            mox.get_dataset("mnist", "train", str(tmp_path))

    images, labels = digits(3)
    refused("holds 'train-images-idx3-ubyte' alone", {"train-images-idx3-ubyte": idx(images)})
    of_labels = "train-labels-idx1-ubyte"
    refused("holds 3 images, and .* 2 labels", {of_labels: idx(labels[:2])})
    refused("holds the label 11; labels go from 0 to 9", {of_labels: idx(labels + 11 - labels[0])})
    refused(r"is cut off or damaged: 10 bytes, and its header says \[3\]", {of_labels: idx(labels)[:-1]})
    refused("is no idx file of bytes in 1 dimensions: it begins b'no'", {of_labels: b"no"})
    refused("cannot be read: Compressed file ended", {of_labels: gzip.compress(idx(labels))[:-9]})
    refused("holds no image", {of_labels: idx(labels[:0]), "train-images-idx3-ubyte": idx(images[:0])})
    (tmp_path / "test_batch.bin").write_bytes(bytes(3072))
    with pytest.raises(DataError, match=r"is no whole batch of CIFAR-10: its 3072 bytes are no images of 3073"):
        mox.get_dataset("cifar10", "test", str(tmp_path))
    (tmp_path / "test_batch.bin").unlink()
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": np.zeros([2, 9], np.uint8), b"labels": [1, 2]}))
    with pytest.raises(DataError, match=r"is no batch of CIFAR-10: its data is uint8 of shape \(2, 9\)"):
        mox.get_dataset("cifar10", "test", str(tmp_path))


class TestArrays(DatasetContract):
    """Data sets in memory keep to the contract; those of records are read by the sources of the others."""

    features = ("image", "label")
    num_samples = 7
    key = "image"

    def dataset(self, folder, *, shuffle, num_epochs):
        write_idx(folder, "train", self.num_samples)
        return mox.get_dataset("mnist", "train", str(folder), shuffle=shuffle, num_epochs=num_epochs)
