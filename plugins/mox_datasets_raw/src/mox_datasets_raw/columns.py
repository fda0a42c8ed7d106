"""Arrays, frames and sparse matrices as columns, which hold a row for each sample. What is no such thing is refused.

pandas and SciPy are needed by nobody who has no objects of theirs: they are looked for among what is imported already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
from attrs import frozen

from mox_core.errors import DataError, UsageError
from mox_core.sdk import captured_constant
from mox_datasets_raw.plain_arrays import (
    KINDS,
    array_of,
    dtype_of,
    is_of,
    plain,
    rows_with_nan,
    series_values,
    shown,
    warn_of_nan,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

_MATRIX: Final = 2


@frozen
class DenseColumn:
    """An array in memory: a copy, so that nothing changes it later.

    Attributes:
        values: the rows.
    """

    values: tf.Variable

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return _shape(self.values)

    def rows(self, indices: tf.Tensor) -> tf.Tensor:
        """Return the rows with some indices (int64 [number])."""
        return tf.gather(self.values, indices)


@frozen
class SparseColumn:
    """A sparse matrix in memory, whose rows are made dense when they are read.

    Attributes:
        starts: where the values of each row begin, and behind them the number of values.
        places: the column of each value.
        values: the values.
        width: how many columns there are.
    """

    starts: tf.Variable
    places: tf.Variable
    values: tf.Variable
    width: int

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the matrix."""
        (starts,) = _shape(self.starts)
        return starts - 1, self.width

    def rows(self, indices: tf.Tensor) -> tf.Tensor:
        """Return the rows with some indices (int64 [number]), [number, width]."""
        first, stop = tf.gather(self.starts, indices), tf.gather(self.starts, indices + 1)
        splits, numbers = tf.raw_ops.RaggedRange(starts=first, limits=stop, deltas=tf.constant(1, tf.int64))
        row = tf.searchsorted(splits, tf.range(tf.size(numbers, tf.int64)), side="right", out_type=tf.int64) - 1
        at = tf.stack([row, tf.cast(tf.gather(self.places, numbers), tf.int64)], 1)
        shape = tf.stack([tf.size(indices, tf.int64), tf.constant(self.width, tf.int64)])
        zeros = tf.zeros(shape, self.values.dtype)
        return tf.ensure_shape(
            tf.tensor_scatter_nd_update(zeros, at, tf.gather(self.values, numbers)), [indices.shape[0], self.width]
        )


Column = DenseColumn | SparseColumn


def columns_of(argument: str, value: Any) -> Iterator[tuple[str, Column]]:
    """Yield the columns of an argument, each with its name.

    A dict and a DataFrame have a name for each column, and a Series one for itself. What has none is named after its
    argument: 'x', or 'x_0' and so on in a list.

    Args:
        argument: the name of the argument.
        value: what it was given.

    Raises:
        UsageError: if it is no array, or one that TensorFlow has no tensors for.
        DataError: if it holds no row, or a row without a value.
    """
    parts = _parts(argument, value)
    if not parts:
        raise UsageError(f"{argument} of ArrayDataset has no column: {shown(value)}.")
    for name, each, place in parts:
        column = _column(each, place)
        if not len(column):
            raise DataError(f"{place} of ArrayDataset has no row, and a row is a sample.")
        if 0 in column.shape:
            raise DataError(f"the rows of {place} of ArrayDataset hold nothing: its shape is {column.shape}.")
        yield name, column


def _parts(argument: str, value: Any) -> list[tuple[str, Any, str]]:
    """Return the name of each column, what it is made of, and how messages call that."""
    if _is_dict(value):
        keys = [_checked_name(key, f"a key of {argument}") for key in value]
        return [(key, value[key], f"{argument}[{key!r}]") for key in keys]
    if is_of("pandas", "DataFrame", value):
        names = [_column_name(each, argument) for each in value.columns]
        return [(name, value.iloc[:, place], f"column {name!r} of {argument}") for place, name in enumerate(names)]
    if is_list_of_arrays(value):
        return [(f"{argument}_{place}", each, f"{argument}[{place}]") for place, each in enumerate(value)]
    named = is_of("pandas", "Series", value) and isinstance(value.name, str)
    return [(value.name if named else argument, value, argument)]


def is_list_of_arrays(value: object) -> bool:
    """Whether a value is a list whose elements are columns, and not rows."""
    return isinstance(value, (list, tuple)) and any(map(_is_array, value)) and all(map(_is_array, value))


def row_labels(value: Any) -> Iterator[Any]:
    """Yield the index of each Series and DataFrame in the argument of a data set."""
    if is_of("pandas", "DataFrame", value) or is_of("pandas", "Series", value):
        yield value.index
    elif _is_dict(value):
        for each in value.values():
            yield from row_labels(each)
    elif isinstance(value, (list, tuple)) and is_list_of_arrays(value):
        for each in value:
            yield from row_labels(each)


def _column(value: Any, place: str) -> Column:
    if _is_sparse(value):
        return _sparse_column(value, place)
    if is_of("pandas", "Index", value) or is_of("pandas", "Categorical", value):
        value = sys.modules["pandas"].Series(value)
    values = plain(series_values(value, place) if is_of("pandas", "Series", value) else array_of(value, place), place)
    if not values.ndim:
        raise UsageError(f"{place} of ArrayDataset is {values[()]!r}, one value; it must be {KINDS}.")
    warn_of_nan(rows_with_nan(values), len(values), place)
    return DenseColumn(_held(values, dtype_of(values), place))


def _sparse_column(matrix: Any, place: str) -> SparseColumn:
    if matrix.ndim != _MATRIX:
        raise UsageError(f"{place} of ArrayDataset is a sparse array of shape {matrix.shape}; it must have two axes.")
    rows = matrix.tocsr()
    if not rows.has_canonical_format:  # several values for one place, which are meant to be added
        rows = rows.copy()
        rows.sum_duplicates()
    values = plain(rows.data, place)
    found = np.flatnonzero(np.isnan(values) if values.dtype.kind in "fc" else [])
    warn_of_nan(np.unique(np.searchsorted(rows.indptr, found, side="right") - 1), rows.shape[0], place)
    return SparseColumn(
        _held(rows.indptr, tf.int64, place),
        _held(rows.indices, tf.as_dtype(rows.indices.dtype), place),
        _held(values, dtype_of(values), place),
        rows.shape[1],
    )


def _held(values: npt.NDArray[Any], dtype: tf.DType, place: str) -> tf.Variable:
    """Return a copy of an array, which is never written to.

    As a variable, because each dataset that reads a constant has a copy of its own. It is made in a thread of its own,
    which is in no scope: those of `input_fn` would take it for a variable of the input.

    Raises:
        UsageError: if TensorFlow has no operation that reads rows of its dtype.
    """
    constant = captured_constant(values, dtype)

    def make() -> tf.Variable:
        with tf.device("CPU:0"):
            variable = tf.Variable(constant, trainable=False)
            tf.gather(variable, tf.zeros([0], tf.int64))
            return variable

    with ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(make).result()
        except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
            raise UsageError(
                f"{place} of ArrayDataset has dtype {dtype.name}, of which TensorFlow reads no rows. Give another one, "
                "as by .astype('float32') or .astype('int8')."
            ) from error


def _shape(variable: tf.Variable) -> tuple[int, ...]:
    sizes: Any = variable.shape  # all of them are known
    return tuple(sizes)


def _column_name(name: object, argument: str) -> str:
    return str(name) if isinstance(name, (int, np.integer)) else _checked_name(name, f"a column of {argument}")


def _checked_name(name: object, what: str) -> str:
    if not isinstance(name, str):
        raise UsageError(f"the name of {what} of ArrayDataset is {name!r}; it must be a string, as get([...]) takes.")
    return name


def _is_sparse(value: object) -> bool:
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(value))


def _is_dict(value: object) -> bool:
    """Whether a value is a dict of columns; SciPy has a matrix that is a dict of its values."""
    return isinstance(value, Mapping) and not _is_sparse(value)


def _is_array(value: object) -> bool:
    return getattr(value, "ndim", 0) > 0 and hasattr(value, "shape")
