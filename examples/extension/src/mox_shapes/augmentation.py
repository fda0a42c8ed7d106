"""The augmentation `shift`: a part of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from mox_core.modes import ModeKeys

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 16


def shift(
    *, run_mode: str, output_height: int | None = None, output_width: int | None = None
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function that cuts 16 x 16 pixels, or as many as are asked for, out of an image.

    They are those of a random place in TRAIN, and of the centre in the other modes.
    """
    height, width = output_height or SIZE, output_width or SIZE

    def augment(image: tf.Tensor) -> tf.Tensor:
        image = tf.cast(image, tf.float32)
        if run_mode == ModeKeys.TRAIN:
            return tf.image.random_crop(image, [height, width, image.shape[-1]])
        return tf.image.resize_with_crop_or_pad(image, height, width)

    return augment
