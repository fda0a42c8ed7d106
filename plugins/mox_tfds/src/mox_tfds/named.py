"""The data sets with a name: each is `tfds` for one data set, whose published size is compared with what is there."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_tfds.prepared import tfds
from mox_tfds.sizes import PUBLISHED

if TYPE_CHECKING:
    from mox_tfds.prepared import PreparedDataset


def _named(
    name: str,
    *,
    split_name: str,
    dataset_dir: str,
    shuffle: bool = True,
    num_epochs: int | None = None,
    on_bad_sample: str = "skip",
    capacity: int = 256,
) -> PreparedDataset:
    """Return one split of a data set that TensorFlow Datasets has prepared; for the options see `tfds`."""
    found = tfds(
        split_name=split_name,
        dataset_dir=dataset_dir,
        tfds_name=name,
        shuffle=shuffle,
        num_epochs=num_epochs,
        on_bad_sample=on_bad_sample,
        capacity=capacity,
    )
    published = PUBLISHED[name][1].get(split_name)
    if published is not None and found.num_samples != published:
        tf.get_logger().warning(
            "split %r of %s has %d samples, and %r holds %d: all of these are read.",
            split_name,
            name,
            published,
            found.folder,
            found.num_samples,
        )
    return found


def __getattr__(name: str) -> Any:  # the targets of the offers
    if name in PUBLISHED:
        return functools.partial(_named, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
