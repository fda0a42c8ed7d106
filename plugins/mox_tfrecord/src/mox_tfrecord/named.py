"""Data sets with a name, for `mox.get_dataset`: what is published of them, found in a folder. Nothing is fetched."""

from __future__ import annotations

import fnmatch
import os
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.datasets.folders import list_folder
from mox_core.errors import DataError, UsageError
from mox_core.name_lists import some
from mox_core.stores.folder import is_remote
from mox_core.whole_numbers import is_whole_number
from mox_tfrecord.arrays import SmallImageDataset, read_cifar, read_idx
from mox_tfrecord.classification import ImageClassificationTFRecordDataset, ImageClassificationTFRecordMetadata
from mox_tfrecord.datasets import BaseTFRecordDataset, BaseTFRecordMetadata
from mox_tfrecord.handled import HandledTFRecordDataset
from mox_tfrecord.prepared import is_prepared, of_tfds
from mox_tfrecord.sizes import SIZES
from mox_tfrecord.tfexample_decoder import Image, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

Folder = str | os.PathLike[str]

_IDX_OF_SPLIT: Final = {"train": "train", "test": "t10k"}
_BATCHES_OF_SPLIT: Final = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}


def mnist(
    *, split_name: str, dataset_dir: Folder, shuffle: bool = True, num_epochs: int | None = None, capacity: int = 256
) -> SmallImageDataset | BaseTFRecordDataset | Any:
    """Return the digits of MNIST: 'image' (uint8, [28, 28, 1]) and 'label' (int64, 0 to 9).

    Args:
        split_name: 'train' or 'test'.
        dataset_dir: a folder with the idx files (`train-images-idx3-ubyte` and so on), packed with gzip or not; or with
            TFRecords, named `mnist_train.tfrecord` or `train-00000-of-00008.tfrecord`, with slim's features; or the
            `data_dir` in which TensorFlow Datasets has prepared it, which mox-tfds reads.
        shuffle: whether each epoch has an order of its own.
        num_epochs: number of epochs; None for no end.
        capacity: no effect; tf.data decides.

    Raises:
        UsageError: if an argument is wrong.
        DataError: if the folder holds nothing of the kind, or what it holds is damaged.
    """
    folder = _folder("mnist", split_name, dataset_dir, capacity)
    if is_prepared(folder, "mnist"):
        return of_tfds("mnist", split_name, folder, shuffle=shuffle, num_epochs=num_epochs)
    arrays = read_idx(folder, _IDX_OF_SPLIT[split_name])
    options = {"shuffle": shuffle, "num_epochs": num_epochs}
    return _of_arrays_or_records("mnist", split_name, folder, arrays, [28, 28, 1], "idx files of that split", options)


def cifar10(
    *, split_name: str, dataset_dir: Folder, shuffle: bool = True, num_epochs: int | None = None, capacity: int = 256
) -> SmallImageDataset | BaseTFRecordDataset | Any:
    """Return the images of CIFAR-10: 'image' (uint8, [32, 32, 3], RGB) and 'label' (int64, 0 to 9).

    Args:
        split_name: 'train' or 'test'.
        dataset_dir: a folder with the binary batches (`data_batch_1.bin` to `test_batch.bin`) or those of Python, or
            with the folder that their archive unpacks to; or with TFRecords, named `cifar10_train.tfrecord` or
            `train-00000-of-00008.tfrecord`, with slim's features; or the `data_dir` in which TensorFlow Datasets has
            prepared it, which mox-tfds reads.
        shuffle: whether each epoch has an order of its own.
        num_epochs: number of epochs; None for no end.
        capacity: no effect; tf.data decides.

    Raises:
        UsageError: if an argument is wrong.
        DataError: if the folder holds nothing of the kind, or what it holds is damaged.
    """
    folder = _folder("cifar10", split_name, dataset_dir, capacity)
    if is_prepared(folder, "cifar10"):
        return of_tfds("cifar10", split_name, folder, shuffle=shuffle, num_epochs=num_epochs)
    arrays = read_cifar(folder, _BATCHES_OF_SPLIT[split_name])
    options = {"shuffle": shuffle, "num_epochs": num_epochs}
    return _of_arrays_or_records("cifar10", split_name, folder, arrays, [32, 32, 3], "batches of CIFAR-10", options)


def imagenet(
    *, split_name: str, dataset_dir: Folder, shuffle: bool = True, num_epochs: int | None = None, capacity: int = 256
) -> ImageClassificationTFRecordDataset:
    """Return the images of ImageNet, ILSVRC 2012, from records with slim's features.

    `get` returns what that of `mox.ImageClassificationTFRecordDataset` does. The labels are those of the records, 1 to
    1000 in slim's, where 0 is the background: a network without that class takes `label - labels_offset`, with the
    default_labels_offset of `mox.get_model_meta`, and num_classes less as many.

    Args:
        split_name: 'train' or 'validation'.
        dataset_dir: a folder with the records, named `train-00000-of-01024` and so on.
        shuffle: whether each epoch has an order of its own.
        num_epochs: number of epochs; None for no end.
        capacity: no effect; tf.data decides.

    Raises:
        UsageError: if an argument is wrong.
        DataError: if the folder holds no such records, or some of the files are missing.
    """
    folder = _folder("imagenet", split_name, dataset_dir, capacity)
    pattern = _pattern(folder, (f"{split_name}-*",), "")
    metadata = ImageClassificationTFRecordMetadata(folder, pattern, SIZES["imagenet"][split_name])
    return ImageClassificationTFRecordDataset(metadata, shuffle=shuffle, num_epochs=num_epochs)


def flowers(
    *, split_name: str, dataset_dir: Folder, shuffle: bool = True, num_epochs: int | None = None, capacity: int = 256
) -> ImageClassificationTFRecordDataset | Any:
    """Return the photographs of five kinds of flowers of TensorFlow's tutorials, from records as slim writes them.

    `get` returns what that of `mox.ImageClassificationTFRecordDataset` does, labels are 0 to 4.

    Args:
        split_name: 'train' or 'validation'.
        dataset_dir: a folder with the records, named `flowers_train_00000-of-00005.tfrecord` and so on, or
            `train-00000-of-00008.tfrecord`; or the `data_dir` in which TensorFlow Datasets has prepared 'tf_flowers',
            which mox-tfds reads: its first 3,320 samples are 'train', the others 'validation'.
        shuffle: whether each epoch has an order of its own.
        num_epochs: number of epochs; None for no end.
        capacity: no effect; tf.data decides.

    Raises:
        UsageError: if an argument is wrong.
        DataError: if the folder holds no such records.
    """
    folder = _folder("flowers", split_name, dataset_dir, capacity)
    if is_prepared(folder, "tf_flowers"):
        return of_tfds("tf_flowers", split_name, folder, shuffle=shuffle, num_epochs=num_epochs)
    pattern = _pattern(folder, (f"flowers_{split_name}_*.tfrecord", f"{split_name}-*.tfrecord"), "")
    metadata = ImageClassificationTFRecordMetadata(folder, pattern, SIZES["flowers"][split_name])
    return ImageClassificationTFRecordDataset(metadata, shuffle=shuffle, num_epochs=num_epochs)


def _folder(name: str, split_name: str, dataset_dir: Folder, capacity: int) -> str:
    """Return the path of the folder of a data set.

    Raises:
        UsageError: if an argument is wrong.
        DataError: if it is no folder.
    """
    if split_name not in SIZES[name]:
        splits = " or ".join(map(repr, SIZES[name]))
        raise UsageError(f"split_name of data set {name!r} is {split_name!r}; it must be {splits}.")
    if not is_whole_number(capacity, least=1):
        raise UsageError(f"capacity of data set {name!r} is {capacity!r}; it must be a whole number from 1.")
    folder = os.fspath(dataset_dir)
    if not is_remote(folder) and not os.path.isdir(folder):  # noqa: PTH112 (a path is text here)
        raise DataError(f"there is no folder {folder!r}, where data set {name!r} is to be. Nothing is fetched.")
    return folder


def _pattern(folder: str, patterns: Sequence[str], other: str) -> str:
    """Return the first of some patterns that files of a folder match."""
    entries = list_folder(folder, "It is to hold the data set.")
    names = sorted([*entries.files, *entries.folders, *entries.special, *entries.broken])
    for pattern in patterns:
        if fnmatch.filter(names, pattern):
            return pattern
    holds = f"It holds {some(names)}." if names else "It is empty."
    records = f"no records named {' or '.join(map(repr, patterns))}"
    raise DataError(f"{folder!r} holds {records}{other and f', and no {other}'}. {holds} Nothing is fetched.")


def _of_arrays_or_records(
    name: str, split_name: str, folder: str, arrays: Any, shape: list[int], other: str, options: dict[str, Any]
) -> SmallImageDataset | BaseTFRecordDataset:
    """Return small images from arrays that were found in a folder; from the records in it where there are none."""
    if arrays is not None:
        return _of_arrays(name, split_name, folder, arrays, options)
    pattern = _pattern(folder, (f"{name}_{split_name}.tfrecord", f"{split_name}-*.tfrecord"), other)
    return _of_small_images(name, split_name, folder, pattern, shape, options)


def _of_arrays(name: str, split_name: str, folder: str, arrays: Any, options: dict[str, Any]) -> SmallImageDataset:
    images, labels = arrays
    published = SIZES[name][split_name]
    if len(labels) != published:
        tf.get_logger().warning(
            "split %r of %s has %d images, and %r holds %d: all of these are read.",
            split_name,
            name,
            published,
            folder,
            len(labels),
        )
    return SmallImageDataset(images, labels, folder, **options)


def _of_small_images(
    name: str, split_name: str, folder: str, pattern: str, shape: list[int], options: dict[str, Any]
) -> BaseTFRecordDataset:
    """Return a data set of records with slim's features, whose images are of one size."""
    keys_to_features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/format": tf.io.FixedLenFeature([], tf.string, default_value=""),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    }
    return HandledTFRecordDataset(
        BaseTFRecordMetadata(folder, pattern, SIZES[name][split_name]),
        feature_keys=list(keys_to_features),
        feature_values=list(keys_to_features.values()),
        items_to_handlers={"image": Image(shape=shape, channels=shape[-1]), "label": Tensor("image/class/label")},
        **options,
    )
