"""Decoding of image files to RGB pixels, equal to those of Pillow."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image

# TensorFlow's decoder of BMP takes palette indices for shades of grey and lacks 1, 4 and 16 bit; that of GIF decodes
# every frame of an animation, cut-off ones too; that of WebP, new in TensorFlow 2.20, returns wrong pixels for
# animations. Pillow reads all three, whole or not at all.
_PILLOW_FORMATS = ("BMP", "GIF", "WEBP")

_JPEG_START = b"\xff\xd8\xff"
_PNG_START = b"\x89PN"


def decode_image(content: tf.Tensor) -> tf.Tensor:
    """Return the pixels of an image file, uint8 of shape [height, width, 3].

    The format is recognized by the first bytes, not by the name of the file. Of an animation the first frame is
    decoded; transparency is dropped; of 16 bits the upper 8 are kept; Exif rotations are not applied. The op fails if
    the file is cut off or of an unknown format.

    Args:
        content: the bytes of the file, a scalar string.
    """
    start = tf.strings.substr(content, 0, len(_JPEG_START))
    image: tf.Tensor = tf.cond(
        start == _JPEG_START,
        # TensorFlow's default, INTEGER_FAST, is off by up to 5 and no faster.
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.cond(
            start == _PNG_START,
            lambda: tf.io.decode_png(content, channels=3),
            lambda: tf.numpy_function(_decode_with_pillow, [content], tf.uint8, stateful=False),
        ),
    )
    image.set_shape([None, None, 3])
    return image


def _decode_with_pillow(content: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=_PILLOW_FORMATS) as image:
        return np.asarray(image.convert("RGB"))
