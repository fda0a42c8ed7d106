"""`tf.estimator.inputs`: an `input_fn` of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def numpy_input_fn(
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,  # noqa: FBT001 (the signature of TensorFlow 1)
    queue_capacity: int = 1000,
    num_threads: int = 1,
) -> Callable[[], Any]:
    """Return an `input_fn` of arrays, or dicts of them. Batches go on over the end of an epoch.

    Args:
        x: the features: an array, or a dict of arrays, whose first dimensions are the samples.
        y: the labels: the same; None for none.
        batch_size: samples in a batch.
        num_epochs: how often all are read; None for no end.
        shuffle: whether their order is a new one in each epoch, over the whole set; it has to be given.
        queue_capacity: without effect: there are no queues.
        num_threads: as queue_capacity.
    """
    del queue_capacity, num_threads
    if not isinstance(shuffle, bool):
        raise UsageError(f"shuffle of the input_fn is {shuffle!r}; it is True or False, and has to be given.")
    arrays = _arrays(x) if y is None else (_arrays(x), _arrays(y))
    sizes = {len(each) for each in tf.nest.flatten(arrays)}
    if len(sizes) != 1:
        raise UsageError(f"the arrays of x and y have {', '.join(map(str, sorted(sizes)))} samples: it is one number.")
    (size,) = sizes

    def input_fn() -> Any:
        with tf.init_scope():  # not as constants of a graph, which holds 2 GiB at most
            dataset = tf.data.Dataset.from_tensor_slices(arrays)
        if shuffle:
            dataset = dataset.shuffle(max(size, 1))
        return dataset.repeat(num_epochs).batch(batch_size)

    return input_fn


def pandas_input_fn(
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,  # noqa: FBT001 (as above)
    queue_capacity: int = 1000,
    num_threads: int = 1,
    target_column: str = "target",
) -> Callable[[], Any]:
    """Return an `input_fn` of a DataFrame: features are a dict by its columns. For its arguments see `numpy_input_fn`.

    Args:
        x: the features, a DataFrame.
        y: the labels, a Series, or a DataFrame of several.
        batch_size: samples in a batch.
        num_epochs: how often all are read; None for no end.
        shuffle: whether their order is a new one in each epoch; it has to be given.
        queue_capacity: without effect.
        num_threads: without effect.
        target_column: without effect: labels are of no column of x.
    """
    del target_column
    if y is not None and not np.array_equal(x.index, y.index):
        raise UsageError("the index of x and of y are not the same: labels would be those of other samples.")
    features = {name: _array(x[name]) for name in x.columns}
    if y is None:
        labels: Any = None
    elif hasattr(y, "columns"):
        labels = {name: _array(y[name]) for name in y.columns}
    else:
        labels = _array(y)
    return numpy_input_fn(features, labels, batch_size, num_epochs, shuffle, queue_capacity, num_threads)


def _arrays(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {name: np.atleast_1d(values) for name, values in data.items()}
    return np.atleast_1d(data)


def _array(column: Any) -> Any:
    """Return a column as an array; pandas keeps strings as objects."""
    array = np.asarray(column)
    return np.array([str(each) for each in array]) if array.dtype == object else array
