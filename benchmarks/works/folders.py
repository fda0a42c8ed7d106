"""Folders of images, a folder a class, as the guides of tf.data read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def by_hand(folder: Path, load: Callable[[tf.Tensor], tf.Tensor], *, batch: int) -> tf.data.Dataset:
    """Return endless shuffled batches (images, labels).

    Args:
        folder: has a folder for each class, whose name is its number.
        load: makes an image, float32, of the bytes of a file.
        batch: the number of images in a batch.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    labels = [int(path.parent.name) for path in paths]

    def read(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return load(tf.io.read_file(path)), label

    data = tf.data.Dataset.from_tensor_slices(([str(path) for path in paths], labels)).shuffle(len(paths)).repeat()
    data = data.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(batch, drop_remainder=True)
    return data.prefetch(tf.data.AUTOTUNE)
