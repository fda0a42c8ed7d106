"""The decoder of image files: RGB pixels equal to those of Pillow, of the whole image or of a part of a JPEG.

An operation of TensorFlow that fails writes to stderr, past Python's logging, and so does the library below it. So a
file that cannot be decoded is told by its bytes where that can be, and Python's errors stay in Python.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf

from mox_core.datasets.image_bytes import (
    BMP_START,
    GIF_START,
    JPEG_END,
    JPEG_OPTIONS,
    JPEG_START,
    PNG_END,
    PNG_START,
    RIFF,
    TAIL,
    WEBP,
    WEBP_PLACE,
    pixels_by_pillow,
)
from mox_core.engine.tensors import READABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mox_core.engine.tensors import Features

ENCODED: Final = "mox/encoded"
"""The name of the feature that holds the bytes of an image file, of which mox makes the feature 'image'."""
IMAGE: Final = "image"

_HEADER: Final = 16  # bytes
DCT_RATIOS: Final = (2, 4, 8)
"""By which libjpeg decodes a JPEG smaller than it is, from fewer coefficients of the discrete cosine transform."""
_MARGIN: Final = 2
"""Pixels around a part of a JPEG that are decoded with it. At its border, libjpeg interpolates colours from what it has
decoded: with 2 pixels more, the part is that of the whole image to the last bit, for all kinds of subsampling."""


def out_of_line(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that stays a call in the graph of its caller, for a branch that is seldom taken.

    TensorFlow puts a branch into the graph around it, and goes through each operation of it also where it is not taken.
    """

    @functools.wraps(function)
    def call(*tensors: tf.Tensor) -> Any:
        # Traced anew for each graph, which keeps the Python functions in it alive.
        traced = tf.function(function, autograph=False, experimental_attributes={"_noinline": True})
        return traced.get_concrete_function(*tensors)(*tensors)

    return call


def decode_image(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the pixels of an image file, uint8 of shape [height, width, 3], and whether it can be decoded.

    The format is recognized by the first bytes, not by the name of the file. Of an animation the first frame is
    decoded; transparency is dropped; of 16 bits the upper 8 are kept; Exif rotations are not applied.

    A file of an unknown format and one that is cut off have one black pixel, and False. The op fails for a JPEG or PNG
    that has its end and is damaged before it.

    Args:
        content: the bytes of the file, a scalar string.
    """
    image: tf.Tensor
    is_plain = _is_within(content, JPEG_START, JPEG_END) | _is_within(content, PNG_START, PNG_END)
    image, is_readable = tf.cond(is_plain, lambda: (decode_jpeg(content), True), lambda: _decode_unusual(content))
    image.set_shape([None, None, 3])
    is_readable.set_shape([])
    return image, is_readable


@out_of_line
def _decode_unusual(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return what `decode_image` does, for a file that does not begin and end as most JPEGs and PNGs do."""
    decoded: tuple[tf.Tensor, tf.Tensor] = tf.cond(
        is_whole_jpeg(content), lambda: (decode_jpeg(content), True), lambda: decode_other(content)
    )
    return decoded


def decoded(features: Features) -> Features:
    """Return the features of a sample, with 'image' in place of its image file."""
    image, is_readable = decode_image(features[ENCODED])
    return without_file(features) | {IMAGE: image, READABLE: is_readable}


def without_file(features: Features) -> Features:
    """Return the features of a sample but for its image file."""
    return {name: value for name, value in features.items() if name != ENCODED}


def is_whole_jpeg(content: tf.Tensor) -> tf.Tensor:
    """Return whether a file is a JPEG that has its end.

    Where a recording or a preview follows, its end is anywhere. A preview in the header has a beginning and an end of
    its own, and nothing else in a JPEG has either.
    """

    @out_of_line
    def has_end_within(content: tf.Tensor) -> tf.Tensor:
        return _has_end(
            content,
            JPEG_END,
            anywhere=lambda: _count(content, JPEG_END) >= tf.maximum(_count(content, JPEG_START), 1),
        )

    begins, ends = _begins(content, JPEG_START), _ends(content, JPEG_END)
    whole: tf.Tensor = tf.cond(begins & tf.logical_not(ends), lambda: has_end_within(content), lambda: begins)
    return whole


def decode_jpeg(content: tf.Tensor) -> tf.Tensor:
    """Return the pixels of a JPEG, or of a PNG, which this operation decodes too: uint8 of shape [height, width, 3]."""
    return tf.io.decode_jpeg(content, **JPEG_OPTIONS)


def decode_jpeg_part(
    content: tf.Tensor, begin: tf.Tensor, size: tf.Tensor, whole: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the pixels of a part of a JPEG and some around it, and where the part begins in those.

    Args:
        content: the bytes of the file.
        begin: the row and the column at which the part begins, int32.
        size: its height and width.
        whole: height and width of the JPEG.
    """
    first = tf.maximum(begin - _MARGIN, 0)
    last = tf.minimum(begin + size + _MARGIN, whole)
    return tf.io.decode_and_crop_jpeg(content, tf.concat([first, last - first], 0), **JPEG_OPTIONS), begin - first


def decode_jpeg_scaled(content: tf.Tensor, begin: tf.Tensor, size: tf.Tensor, ratio: tf.Tensor) -> tf.Tensor:
    """Return the pixels of a part of a JPEG that libjpeg decodes smaller, each about the mean of those it stands for.

    Args:
        content: the bytes of the file.
        begin: the row and the column at which the part begins in the smaller image, int32.
        size: its height and width there.
        ratio: how many times smaller, one of `DCT_RATIOS` (int32 scalar).
    """
    window = tf.concat([begin, size], 0)
    branches = [
        lambda each=each: tf.io.decode_and_crop_jpeg(content, window, ratio=each, **JPEG_OPTIONS) for each in DCT_RATIOS
    ]
    place = tf.argmax(tf.equal(DCT_RATIOS, ratio), output_type=tf.int32)
    pixels: tf.Tensor = tf.switch_case(place, branches)
    return pixels


@out_of_line
def decode_other(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return what `decode_image` does, for a file that is no whole JPEG."""
    header = tf.strings.substr(tf.strings.join([content, bytes(_HEADER)]), 0, _HEADER)
    is_png = _begins(header, PNG_START)
    is_webp = _begins(header, RIFF) & (tf.strings.substr(header, WEBP_PLACE, len(WEBP)) == WEBP)
    is_of_pillow = _begins(header, BMP_START) | _begins(header, GIF_START) | is_webp
    is_whole_png = tf.cond(is_png, lambda: _has_end(content, PNG_END), lambda: False)
    decoded: tuple[tf.Tensor, tf.Tensor] = tf.cond(
        is_whole_png,
        lambda: (tf.io.decode_png(content, channels=3), True),
        lambda: tf.cond(
            is_of_pillow,
            lambda: tuple(tf.numpy_function(_decode_with_pillow, [content], [tf.uint8, tf.bool], stateful=False)),
            lambda: (tf.zeros([1, 1, 3], tf.uint8), False),
        ),
    )
    return decoded


def _is_within(content: tf.Tensor, start: bytes, end: bytes) -> tf.Tensor:
    return _begins(content, start) & _ends(content, end)


def _ends(content: tf.Tensor, end: bytes) -> tf.Tensor:
    return tf.strings.substr(content, tf.maximum(tf.strings.length(content) - len(end), 0), len(end)) == end


def _begins(header: tf.Tensor, start: bytes) -> tf.Tensor:
    return tf.strings.substr(header, 0, len(start)) == start


def _has_end(content: tf.Tensor, end: bytes, anywhere: Callable[[], tf.Tensor] | None = None) -> tf.Tensor:
    tail = tf.strings.substr(content, tf.maximum(tf.strings.length(content) - TAIL, 0), TAIL)
    whole: tf.Tensor = tf.cond(_count(tail, end) > 0, lambda: True, anywhere or (lambda: _count(content, end) > 0))
    return whole


def _count(content: tf.Tensor, part: bytes) -> tf.Tensor:
    return tf.size(tf.strings.split(content, part)) - 1


def _decode_with_pillow(content: bytes) -> tuple[npt.NDArray[np.uint8], np.bool_]:
    try:
        return pixels_by_pillow(content), np.True_
    except Exception:  # noqa: BLE001  (Pillow's readers raise many kinds of errors for damaged files)
        return np.zeros([1, 1, 3], np.uint8), np.False_
