"""Handlers, which turn features of a record into a tensor, with the names and arguments of slim's module.

    items_to_handlers = {
        "image": mox.tfexample_decoder.Image(),
        "label": mox.tfexample_decoder.Tensor("image/class/label"),
    }

Handlers of tf_slim work as well: a handler has `keys`, the names of its features, and `tensors_to_item`.
"""

from __future__ import annotations

import abc
import sys
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

tfexample_decoder = sys.modules[__name__]
"""This module: the target of an offer is an object in a module."""


class ItemHandler(abc.ABC):
    """Turn one or more features of a record into an item.

    Args:
        keys: the name of the feature, or a list of names.
    """

    def __init__(self, keys: str | Sequence[str]) -> None:
        self._keys = [keys] if isinstance(keys, str) else list(keys)

    @property
    def keys(self) -> list[str]:
        """The names of the features that `tensors_to_item` takes."""
        return self._keys

    @abc.abstractmethod
    def tensors_to_item(self, keys_to_tensors: Mapping[str, Any]) -> tf.Tensor:
        """Return the item, from the parsed features by name."""


class Tensor(ItemHandler):
    """A feature as it is, or in another shape.

    Args:
        tensor_key: the name of the feature.
        shape_keys: the name of the feature that holds the shape, or a list of names, one for each dimension.
        shape: the shape, if it is the same for all records.
        default_value: the value of the gaps of a sparse feature.
    """

    def __init__(
        self,
        tensor_key: str,
        shape_keys: str | Sequence[str] | None = None,
        shape: Any = None,
        default_value: Any = 0,
    ) -> None:
        if shape_keys and shape is not None:
            raise UsageError(
                f"handler Tensor({tensor_key!r}) has shape_keys={shape_keys!r} and shape={shape!r}; it takes one of "
                "them."
            )
        self._tensor_key = tensor_key
        self._shape_keys = [shape_keys] if isinstance(shape_keys, str) else list(shape_keys or ())
        self._shape = shape
        self._default_value = default_value
        super().__init__([tensor_key, *self._shape_keys])

    def tensors_to_item(self, keys_to_tensors: Mapping[str, Any]) -> tf.Tensor:
        """Return the feature, dense and in its shape."""
        tensor, shape = keys_to_tensors[self._tensor_key], self._shape
        if self._shape_keys:
            shape = tf.concat([tf.reshape(_dense(keys_to_tensors[key]), [-1]) for key in self._shape_keys], 0)
        if isinstance(tensor, tf.SparseTensor):
            if shape is not None:
                tensor = tf.sparse.reshape(tensor, shape)
            default = "" if tensor.dtype == tf.string and self._default_value == 0 else self._default_value
            return tf.sparse.to_dense(tensor, default)
        return tensor if shape is None else tf.reshape(tensor, shape)


class Image(ItemHandler):
    """An image, decoded.

    Args:
        image_key: the name of the feature that holds the file of the image, 'image/encoded' if not given.
        format_key: the name of the feature that holds its format, 'image/format' if not given. Only b'raw', for pixels
            without a header, makes a difference: other formats are recognized by their content.
        shape: [height, width, channels], if all images are of one size.
        channels: number of channels; 0 for as many as the file has.
        dtype: the type to which pixels are cast; the stored type of raw pixels.
        repeated: whether the feature is a list of images of one size.
        dct_method: 'INTEGER_FAST' or 'INTEGER_ACCURATE', for JPEGs.
    """

    def __init__(
        self,
        image_key: str | None = None,
        format_key: str | None = None,
        shape: Sequence[int] | None = None,
        channels: int = 3,
        dtype: tf.DType = tf.uint8,
        repeated: bool = False,  # noqa: FBT001, FBT002 (slim's arguments)
        dct_method: str = "",
    ) -> None:
        self._image_key = image_key or "image/encoded"
        self._format_key = format_key or "image/format"
        self._shape = shape
        self._channels = channels
        self._dtype = tf.as_dtype(dtype)
        self._repeated = repeated
        self._dct_method = dct_method
        super().__init__([self._image_key, self._format_key])

    def tensors_to_item(self, keys_to_tensors: Mapping[str, Any]) -> tf.Tensor:
        """Return the pixels: [height, width, channels], with `repeated` one dimension more."""
        files, image_format = _dense(keys_to_tensors[self._image_key]), _dense(keys_to_tensors[self._format_key])
        is_raw = tf.reduce_any(tf.strings.lower(image_format) == "raw")
        if not self._repeated:
            return self._decode(tf.reshape(files, []), is_raw)
        shape: Any = self._shape or [None, None, self._channels or None]
        spec: Any = tf.TensorSpec(shape, self._dtype)
        return tf.map_fn(lambda file: self._decode(file, is_raw), tf.reshape(files, [-1]), fn_output_signature=spec)

    def _decode(self, file: tf.Tensor, is_raw: tf.Tensor) -> tf.Tensor:
        def decode() -> tf.Tensor:
            return tf.cond(
                tf.io.is_jpeg(file),
                lambda: tf.io.decode_jpeg(file, channels=self._channels, dct_method=self._dct_method),
                lambda: tf.io.decode_image(file, channels=self._channels, expand_animations=False),
            )

        if self._shape is None:
            with tf.control_dependencies([tf.debugging.assert_equal(is_raw, False, "raw pixels need a shape")]):
                image = tf.cast(decode(), self._dtype)
            image.set_shape([None, None, self._channels or None])
            return image
        pixels = tf.cond(
            is_raw,
            lambda: tf.reshape(tf.io.decode_raw(file, self._dtype), [-1]),
            lambda: tf.reshape(tf.cast(decode(), self._dtype), [-1]),
        )
        return tf.reshape(pixels, self._shape)


def _dense(tensor: Any) -> tf.Tensor:
    if isinstance(tensor, tf.SparseTensor):
        return tensor.values
    return tensor
