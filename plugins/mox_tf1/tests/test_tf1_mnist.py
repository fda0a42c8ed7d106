"""`input_data.read_data_sets` of TensorFlow 1's tutorials."""

import gzip

import numpy as np
import pytest

from mox_core.errors import DataError
from mox_tf1 import mnist

IMAGES = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
LABELS = np.array([3, 1, 4, 1, 5, 9], np.uint8)


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(IMAGES[:2]))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[:2])))
    return tmp_path


def test_the_first_images_validate_and_pixels_are_from_0_to_1(folder):
    sets = mnist.read_data_sets(str(folder), validation_size=2)
    assert [part.num_examples for part in sets] == [4, 2, 2]
    np.testing.assert_array_equal(sets.train.images, IMAGES[2:].reshape(4, 4) / np.float32(255))
    np.testing.assert_array_equal(sets.validation.labels, [3, 1])
    np.testing.assert_array_equal(sets.test.labels, [3, 1])


def test_labels_are_rows_of_zeros_and_a_one_where_asked_for_and_images_keep_their_shape(folder):
    train = mnist.read_data_sets(folder, one_hot=True, dtype=np.uint8, reshape=False, validation_size=0).train
    assert train.labels.shape == (6, 10)
    np.testing.assert_array_equal(train.labels.argmax(axis=1), LABELS)
    np.testing.assert_array_equal(train.images, IMAGES[..., None])


def test_each_epoch_has_every_image_once_and_a_batch_goes_over_its_end(folder):
    train = mnist.read_data_sets(folder, dtype=np.uint8, validation_size=0, seed=1).train
    first, labels = train.next_batch(4)
    np.testing.assert_array_equal(LABELS[first[:, 0] // 4], labels)
    second, _ = train.next_batch(4)
    assert train.epochs_completed == 1
    epoch = np.concatenate([first, second[:2]])
    assert sorted(epoch[:, 0]) == [0, 4, 8, 12, 16, 20]
    ordered, _ = mnist.DataSet(IMAGES, LABELS).next_batch(8, shuffle=False)
    np.testing.assert_array_equal(ordered, IMAGES[[0, 1, 2, 3, 4, 5, 0, 1]])


def test_a_file_that_is_missing_cut_off_or_another_is_refused(folder):
    file = folder / "train-labels-idx1-ubyte"
    file.write_bytes(idx(LABELS)[:-1])
    with pytest.raises(DataError, match="cut off"):
        mnist.read_data_sets(folder)
    file.write_bytes(b"<html>")
    with pytest.raises(DataError, match="no idx file"):
        mnist.read_data_sets(folder)
    file.unlink()
    with pytest.raises(DataError, match=r"neither train-labels-idx1-ubyte\.gz nor train-labels-idx1-ubyte"):
        mnist.read_data_sets(folder)
