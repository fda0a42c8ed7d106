"""Arrays, frames and sparse matrices as columns, which hold a row for each sample. What is no such thing is refused.

pandas and SciPy are needed by nobody who has no objects of theirs: they are looked for among what is imported already.
"""

from __future__ import annotations

import sys
from collections.abc import KeysView, Mapping, ValuesView
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
from attrs import frozen

from mox_core.datasets.said import warn_once
from mox_core.errors import DataError, UsageError
from mox_core.sdk import captured_constant

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

_KINDS: Final = (
    "an array, a dict or a list of arrays, a pandas DataFrame or Series, or a sparse matrix of SciPy, with a row for "
    "each sample"
)
_INSTEAD: Final = {
    "O": "Make numbers of them (.astype('float32')), or strings (.astype(str))",
    "M": "Give numbers, as by .astype('int64')",
    "m": "Give numbers, as by .astype('int64')",
    "V": "Give its fields, as {name: x[name] for name in x.dtype.names}",
    "f": "Give float64, by .astype('float64')",
    "c": "Give complex128, by .astype('complex128')",
}
_MATRIX: Final = 2
_ROWS_AT_A_TIME: Final = 2**16
_EXACT: Final = 2**53
"""Up to here all whole numbers are float64s."""


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
        raise UsageError(f"{argument} of ArrayDataset has no column: {_shown(value)}.")
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
    if _is_of("pandas", "DataFrame", value):
        names = [_column_name(each, argument) for each in value.columns]
        return [(name, value.iloc[:, place], f"column {name!r} of {argument}") for place, name in enumerate(names)]
    if is_list_of_arrays(value):
        return [(f"{argument}_{place}", each, f"{argument}[{place}]") for place, each in enumerate(value)]
    named = _is_of("pandas", "Series", value) and isinstance(value.name, str)
    return [(value.name if named else argument, value, argument)]


def is_list_of_arrays(value: object) -> bool:
    """Whether a value is a list whose elements are columns, and not rows."""
    return isinstance(value, (list, tuple)) and any(map(_is_array, value)) and all(map(_is_array, value))


def row_labels(value: Any) -> Iterator[Any]:
    """Yield the index of each Series and DataFrame in the argument of a data set."""
    if _is_of("pandas", "DataFrame", value) or _is_of("pandas", "Series", value):
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
    if _is_of("pandas", "Index", value) or _is_of("pandas", "Categorical", value):
        value = sys.modules["pandas"].Series(value)
    values = _plain(_series_values(value, place) if _is_of("pandas", "Series", value) else _array(value, place), place)
    if not values.ndim:
        raise UsageError(f"{place} of ArrayDataset is {values[()]!r}, one value; it must be {_KINDS}.")
    _warn_of_nan(_rows_with_nan(values), len(values), place)
    return DenseColumn(_held(values, _dtype(values)))


def _sparse_column(matrix: Any, place: str) -> SparseColumn:
    if matrix.ndim != _MATRIX:
        raise UsageError(f"{place} of ArrayDataset is a sparse array of shape {matrix.shape}; it must have two axes.")
    rows = matrix.tocsr()
    if not rows.has_canonical_format:  # several values for one place, which are meant to be added
        rows = rows.copy()
        rows.sum_duplicates()
    values = _plain(rows.data, place)
    found = np.flatnonzero(np.isnan(values) if values.dtype.kind in "fc" else [])
    _warn_of_nan(np.unique(np.searchsorted(rows.indptr, found, side="right") - 1), rows.shape[0], place)
    return SparseColumn(
        _held(rows.indptr, tf.int64),
        _held(rows.indices, tf.as_dtype(rows.indices.dtype)),
        _held(values, _dtype(values)),
        rows.shape[1],
    )


def _held(values: npt.NDArray[Any], dtype: tf.DType) -> tf.Variable:
    """Return a copy of an array, which is never written to.

    As a variable, because each dataset that reads a constant has a copy of its own. It is made in a thread of its own,
    which is in no scope: those of `input_fn` would take it for a variable of the input.
    """
    constant = captured_constant(values, dtype)

    def make() -> tf.Variable:
        with tf.device("CPU:0"):
            return tf.Variable(constant, trainable=False)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


def _shape(variable: tf.Variable) -> tuple[int, ...]:
    sizes: Any = variable.shape  # all of them are known
    return tuple(sizes)


def _array(value: Any, place: str) -> npt.NDArray[Any]:
    """Return an array of what may be one.

    Raises:
        UsageError: if it is none.
    """
    if np.ma.isMaskedArray(value):
        if np.ma.is_masked(value):
            raise UsageError(f"{place} of ArrayDataset has masked values: fill them, as by .filled(0).")
        return np.ma.getdata(value)
    if isinstance(value, tf.Variable):
        value = value.read_value()
    if isinstance(value, tf.Tensor):
        if not hasattr(value, "numpy"):
            raise UsageError(
                f"{place} of ArrayDataset is a tensor of a graph, which has no values yet ({value.name!r}). Give an "
                "array of NumPy; in input_fn, also TensorFlow's own functions make tensors of a graph."
            )
        return np.asarray(value.numpy())
    if not isinstance(value, (list, tuple, range)) and not (
        hasattr(value, "__array__") and not isinstance(value, type)
    ):
        raise UsageError(f"{place} of ArrayDataset is {_shown(value)}; it must be {_KINDS}.{_way_out(value)}")
    try:
        values = np.asarray(value)
    except ValueError as error:
        raise UsageError(
            f"{place} of ArrayDataset holds rows of several shapes, and those of an array are of one. Pad them, or "
            f"return tf.data.Dataset.from_tensor_slices(tf.ragged.constant(rows)) from input_fn. NumPy says: {error}"
        ) from error
    if not isinstance(value, (list, tuple)):
        return values
    _refuse_rounded(value, values, place)
    # Of numbers among strings NumPy makes strings: as objects they are refused.
    return np.asarray(value, object) if values.dtype.kind in "US" else values


def _refuse_rounded(value: Any, values: npt.NDArray[Any], place: str) -> None:
    """Refuse a list of whole numbers that NumPy makes float64 of, as no integers hold all of them, and may round.

    Raises:
        UsageError: with the first one.
    """
    if values.dtype.kind != "f" or not (np.abs(values) >= _EXACT).any():
        return
    given = list(np.asarray(value, object).flat)
    whole = [each for each in given if isinstance(each, (int, np.integer))]
    wrong = [each for each in whole if len(whole) == len(given) or each != int(float(each))]
    if wrong:
        raise UsageError(
            f"{place} of ArrayDataset is a list of numbers that NumPy makes float64 of, where large whole numbers are "
            f"rounded, and it holds {max(wrong, key=abs)}. Give an array of the dtype that you mean, as "
            "np.array(..., np.uint64)."
        )


def _series_values(series: Any, place: str) -> npt.NDArray[Any]:
    """Return the values of a Series.

    Raises:
        UsageError: if they are categories, which are numbers and words at once.
        DataError: if a row has no value, and its dtype none that says so.
    """
    dtype: Any = series.dtype
    if _is_of("pandas", "CategoricalDtype", dtype):
        raise UsageError(
            f"{place} of ArrayDataset is categorical, which may be meant as numbers or as words: give its .cat.codes "
            "(-1 where there is no value), or .astype(str)."
        )
    if not isinstance(dtype, np.dtype):
        _refuse_missing(np.asarray(series.isna()), place)
        plain = getattr(dtype, "numpy_dtype", None)
        return np.asarray(series.to_numpy(dtype=plain) if isinstance(plain, np.dtype) else series)
    if dtype.kind == "O":
        _refuse_missing(np.asarray(series.isna()), place)
    return np.asarray(series)


def _refuse_missing(missing: npt.NDArray[Any], place: str) -> None:
    if missing.any():
        raise DataError(
            f"{place} of ArrayDataset has no value in {missing.sum()} of {len(missing)} rows, the first in row "
            f"{missing.argmax()}: fill them (.fillna), or leave these rows out (.dropna)."
        )


def _plain(values: npt.NDArray[Any], place: str) -> npt.NDArray[Any]:
    """Return an array that TensorFlow has a tensor for.

    Raises:
        UsageError: if there is none.
    """
    if values.dtype.kind == "T":
        values = values.astype(object)
    if values.dtype.kind == "O" and all(isinstance(each, (str, bytes)) for each in values.flat):
        return values
    if values.dtype.kind != "O":
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        try:
            tf.as_dtype(values.dtype)
        except TypeError:
            pass
        else:
            return values
    wrong = next((each for each in values.flat if not isinstance(each, (str, bytes))), None)
    of = f", of {type(wrong).__name__} ({wrong!r})" if values.dtype.kind == "O" and values.size else ""
    raise UsageError(
        f"{place} of ArrayDataset has dtype {values.dtype}{of}, for which TensorFlow has no tensors. "
        f"{_INSTEAD.get(values.dtype.kind, _INSTEAD['O'])}."
    )


def _dtype(values: npt.NDArray[Any]) -> tf.DType:
    return tf.string if values.dtype.kind == "O" else tf.as_dtype(values.dtype)


def _rows_with_nan(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the numbers of the rows that hold NaN."""
    if values.dtype.kind not in "fc" or not values.size:
        return np.zeros(0, np.int64)
    rows = values.reshape(len(values), -1)
    parts = (rows[start : start + _ROWS_AT_A_TIME] for start in range(0, len(rows), _ROWS_AT_A_TIME))
    return np.flatnonzero(np.concatenate([np.isnan(part).any(1) for part in parts]))


def _warn_of_nan(rows: npt.NDArray[np.int64], number: int, place: str) -> None:
    """Say which rows of a number of them hold NaN, if any do: what is missing in a table, and makes NaN of a loss."""
    if len(rows):
        warn_once(
            f"{place} of ArrayDataset holds NaN in {len(rows)} of {number} rows, the first in row {rows[0]}: model_fn "
            "gets it as it is."
        )


def _column_name(name: object, argument: str) -> str:
    return str(name) if isinstance(name, (int, np.integer)) else _checked_name(name, f"a column of {argument}")


def _checked_name(name: object, what: str) -> str:
    if not isinstance(name, str):
        raise UsageError(f"the name of {what} of ArrayDataset is {name!r}; it must be a string, as get([...]) takes.")
    return name


def _is_of(module: str, name: str, value: Any) -> bool:
    """Whether a value is of a class of a module that may not be imported."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(value, kind)


def _is_sparse(value: object) -> bool:
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(value))


def _is_dict(value: object) -> bool:
    """Whether a value is a dict of columns; SciPy has a matrix that is a dict of its values."""
    return isinstance(value, Mapping) and not _is_sparse(value)


def _is_array(value: object) -> bool:
    return getattr(value, "ndim", 0) > 0 and hasattr(value, "shape")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}... ({type(value).__name__})"  # noqa: PLR2004


def _way_out(value: object) -> str:
    if isinstance(value, tf.data.Dataset):
        return " A tf.data.Dataset is an input of its own: return it from input_fn."
    if isinstance(value, (tf.RaggedTensor, tf.SparseTensor)):
        return " Return tf.data.Dataset.from_tensor_slices(...) of it from input_fn."
    if isinstance(value, str):
        return " What a file holds is read before, as by np.load."
    if isinstance(value, (KeysView, ValuesView, set, frozenset)):
        return " Give list(...) of it."
    if hasattr(value, "__next__") or callable(value):
        return " What gives one sample after another goes into tf.data.Dataset.from_generator, which input_fn returns."
    return ""
