"""Arrays of NumPy of what a column is given as, of dtypes that TensorFlow has tensors for. Others are refused.

pandas is needed by nobody who has no objects of its: it is looked for among what is imported already.
"""

from __future__ import annotations

import sys
from collections.abc import KeysView, ValuesView
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf

from mox_core.datasets.said import warn_once
from mox_core.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

KINDS: Final = (
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
_ROWS_AT_A_TIME: Final = 2**16
_EXACT: Final = 2**53
"""Up to here all whole numbers are float64s."""


def array_of(value: Any, place: str) -> npt.NDArray[Any]:
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
        raise UsageError(f"{place} of ArrayDataset is {shown(value)}; it must be {KINDS}.{_way_out(value)}")
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


def series_values(series: Any, place: str) -> npt.NDArray[Any]:
    """Return the values of a Series.

    Raises:
        UsageError: if they are categories, which are numbers and words at once.
        DataError: if a row has no value, and its dtype none that says so.
    """
    dtype: Any = series.dtype
    if is_of("pandas", "CategoricalDtype", dtype):
        raise UsageError(
            f"{place} of ArrayDataset is categorical, which may be meant as numbers or as words: give its .cat.codes "
            "(-1 where there is no value), or .astype(str)."
        )
    if not isinstance(dtype, np.dtype):
        _refuse_missing(np.asarray(series.isna()), place)
        own = getattr(dtype, "numpy_dtype", None)
        return np.asarray(series.to_numpy(dtype=own) if isinstance(own, np.dtype) else series)
    if dtype.kind == "O":
        _refuse_missing(np.asarray(series.isna()), place)
    return np.asarray(series)


def _refuse_missing(missing: npt.NDArray[Any], place: str) -> None:
    if missing.any():
        raise DataError(
            f"{place} of ArrayDataset has no value in {missing.sum()} of {len(missing)} rows, the first in row "
            f"{missing.argmax()}: fill them (.fillna), or leave these rows out (.dropna)."
        )


def plain(values: npt.NDArray[Any], place: str) -> npt.NDArray[Any]:
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


def dtype_of(values: npt.NDArray[Any]) -> tf.DType:
    """Return the dtype that TensorFlow has for an array from `plain`."""
    return tf.string if values.dtype.kind == "O" else tf.as_dtype(values.dtype)


def rows_with_nan(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the numbers of the rows that hold NaN."""
    if values.dtype.kind not in "fc" or not values.size:
        return np.zeros(0, np.int64)
    rows = values.reshape(len(values), -1)
    parts = (rows[start : start + _ROWS_AT_A_TIME] for start in range(0, len(rows), _ROWS_AT_A_TIME))
    return np.flatnonzero(np.concatenate([np.isnan(part).any(1) for part in parts]))


def warn_of_nan(rows: npt.NDArray[np.int64], number: int, place: str) -> None:
    """Say which rows of a number of them hold NaN, if any do: what is missing in a table, and makes NaN of a loss."""
    if len(rows):
        warn_once(
            f"{place} of ArrayDataset holds NaN in {len(rows)} of {number} rows, the first in row {rows[0]}: model_fn "
            "gets it as it is."
        )


def is_of(module: str, name: str, value: Any) -> bool:
    """Whether a value is of a class of a module that may not be imported."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(value, kind)


def shown(value: object) -> str:
    """Return a value as messages show it: no longer than one reads."""
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
