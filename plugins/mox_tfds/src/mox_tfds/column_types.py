"""How a column of a table becomes a tensor, by its type and by what `datasets` has written of it."""

from __future__ import annotations

import functools
import json
import reprlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from attrs import define

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def features_of(schema: Any) -> dict[str, Any]:
    """Return what `datasets` has written of the columns."""
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(text)["info"]["features"] if text else {}
    except (ValueError, KeyError, TypeError):
        features = {}
    return {name: value for name, value in features.items() if isinstance(value, dict)}


def column_of(of: Any, feature: Mapping[str, Any]) -> Column | None:
    """Return how a column is read; None for one that is no tensor."""
    kind = of.type.value_type if pa.types.is_dictionary(of.type) else of.type
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if pa.types.is_struct(kind) and "bytes" in {each.name for each in kind}:
        return Column(tf.string, [], _image_bytes, _decoded)
    if is_binary and (feature.get("_type") == "Image" or of.name in {"image", "img"}):
        return Column(tf.string, [], _encoded, _decoded)
    if is_binary or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Column(tf.string, [], lambda value: value if isinstance(value, bytes) else value.encode())
    shape: list[int | None] = []
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size if pa.types.is_fixed_size_list(kind) else None)
        kind = kind.value_type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None
    dtype = tf.int64 if pa.types.is_integer(kind) else tf.as_dtype(kind.to_pandas_dtype())
    return Column(dtype, shape, functools.partial(_numbers, dtype=dtype.as_numpy_dtype))


@define
class Column:
    """How a column becomes a tensor.

    Attributes:
        dtype: its dtype.
        shape: its shape; None for a size that differs.
        value: makes what TensorFlow takes of what pyarrow gives; a ValueError says what a value of none lacks.
        finish: what TensorFlow makes of that.
    """

    dtype: tf.DType
    shape: list[int | None]
    value: Callable[[Any], Any]
    finish: Callable[[tf.Tensor], tf.Tensor] = lambda tensor: tensor

    def value_of(self, given: Any) -> Any:
        """Return the value of a row.

        Raises:
            ValueError: if there is none.
        """
        if given is not None:
            return self.value(given)
        if self.dtype.is_floating and not self.shape:
            return np.asarray(np.nan, self.dtype.as_numpy_dtype)
        raise ValueError("has no value")

    def empty(self) -> Any:
        """Return a value that stands for one that is not read."""
        return (
            b"" if self.dtype == tf.string else np.zeros([size or 0 for size in self.shape], self.dtype.as_numpy_dtype)
        )


def _numbers(value: Any, dtype: Any) -> Any:
    try:
        return np.asarray(value, dtype)  # None among floating-point numbers is NaN
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"holds {reprlib.repr(value)}, which is no array of numbers") from None


def _image_bytes(value: Mapping[str, Any]) -> bytes:
    if not value.get("bytes") and value.get("path"):
        raise ValueError(f"has no image: it is in a file of its own, {value['path']!r}, and not in the table")
    return _encoded(value.get("bytes"))


def _encoded(value: bytes | None) -> bytes:
    if not value:
        raise ValueError("has no image")
    return value


def _decoded(encoded: tf.Tensor) -> tf.Tensor:
    """Return an image; of a column that is not read, an empty one."""
    image = tf.cond(
        tf.strings.length(encoded) > 0,
        lambda: tf.io.decode_image(encoded, expand_animations=False),
        lambda: tf.zeros([0, 0, 0], tf.uint8),
    )
    return tf.ensure_shape(image, [None, None, None])
