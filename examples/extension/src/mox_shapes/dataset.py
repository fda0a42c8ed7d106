"""The data set `shapes`: arrays in memory, of which mox reads one sample at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from mox_core.errors import DataError, UsageError
from mox_core.sdk import SampleSource
from mox_shapes.plugin import META

if TYPE_CHECKING:
    from collections.abc import Sequence


class Shapes:
    """One split of the data set, read inside `input_fn`: 'image' (uint8), 'label' (int64) and 'index' (int64).

    Args:
        split_name: 'train' or 'eval'.
        dataset_dir: the folder that `mox.draw_shapes` was given.
        shuffle: whether each epoch has an order of its own.
        num_epochs: how often the samples are gone through; None for ever.

    Raises:
        UsageError: if there is no such split.
        DataError: if the file is missing.
    """

    def __init__(
        self, *, split_name: str, dataset_dir: str, shuffle: bool = True, num_epochs: int | None = None
    ) -> None:
        if split_name not in META.splits_to_sizes:
            raise UsageError(f"unknown split {split_name!r} of 'shapes'; it has {', '.join(META.splits_to_sizes)}.")
        path = Path(dataset_dir, f"{split_name}.npz")
        if not path.is_file():
            raise DataError(f"there is no file {str(path)!r}: mox.draw_shapes({dataset_dir!r}) draws it.")
        content = np.load(path)
        with tf.init_scope():  # not in the graph of input_fn: it is read outside of it
            self._images = tf.constant(content["images"])
            self._labels = tf.constant(content["labels"], tf.int64)
        self._source = SampleSource(
            num_samples=len(content["labels"]),
            fetch=self._fetch,
            describe=lambda index: f"{path} [{index}]",
            shuffle=shuffle,
            num_epochs=num_epochs,
        )

    def get(self, keys: Sequence[str]) -> list[tf.Tensor]:
        """Return features of one sample in the order of `keys`."""
        features = self._source.read()
        for key in keys:
            if key not in features:
                raise UsageError(f"unknown key {key!r} of 'shapes'; it has {', '.join(features)}.")
        return [features[key] for key in keys]

    def _fetch(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "image": tf.gather(self._images, index),
            "label": tf.gather(self._labels, index),
            "index": index,
        }
