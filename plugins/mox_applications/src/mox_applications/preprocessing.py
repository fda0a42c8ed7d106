"""The preprocessing of each family: images in 0..255 as its networks, and their published weights, expect them.

These are Keras's `preprocess_input`, and what some of its models do in their first layers. It is computed in float32;
the result has the float type of the images, in which the network computes.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Final

import tensorflow as tf
from keras.applications.imagenet_utils import preprocess_input

from mox_core.errors import UsageError
from mox_core.networks.preprocessing import in_type_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_core.networks.image_network import PreprocessFn

_COLOURS: Final = 3


def _in_float32(prepare: Callable[[tf.Tensor], tf.Tensor]) -> PreprocessFn:
    @wraps(prepare)
    def preprocess(images: tf.Tensor, run_mode: str) -> tf.Tensor:
        del run_mode
        return in_type_of(images, prepare(tf.cast(images, tf.float32)))

    return preprocess


@_in_float32
def center(images: tf.Tensor) -> tf.Tensor:
    """Scale to -1..1."""
    return preprocess_input(images, data_format="channels_last", mode="tf")


@_in_float32
def center_by_128(images: tf.Tensor) -> tf.Tensor:
    """Divide by 128 and subtract 1, as EfficientNetV2 S, M and L do."""
    return images / 128.0 - 1.0


@_in_float32
def scale_to_one(images: tf.Tensor) -> tf.Tensor:
    """Scale to 0..1. The network goes on with a normalization that has weights of its own."""
    return images / 255.0


@_in_float32
def standardize(images: tf.Tensor) -> tf.Tensor:
    """Subtract from each colour the mean of ImageNet, and divide by its deviation."""
    _check_colours(images, "the mean colours and deviations")
    return preprocess_input(images, data_format="channels_last", mode="torch")


@_in_float32
def standardize_or_center(images: tf.Tensor) -> tf.Tensor:
    """Do as `standardize` with colours, and as `center_by_128` with grey images, as EfficientNetV2 B0 to B3 do."""
    if images.shape[-1] != _COLOURS:
        return images / 128.0 - 1.0
    return preprocess_input(images, data_format="channels_last", mode="torch")


@_in_float32
def subtract_means_of_bgr(images: tf.Tensor) -> tf.Tensor:
    """Turn red, green, blue into blue, green, red, and subtract the mean of ImageNet from each."""
    _check_colours(images, "the mean colours")
    return preprocess_input(images, data_format="channels_last", mode="caffe")


def _check_colours(images: tf.Tensor, what: str) -> None:
    if images.shape[-1] != _COLOURS:
        raise UsageError(
            f"images have {images.shape[-1]!r} channels, but {what} of ImageNet are {_COLOURS}: give RGB images "
            "(`tf.image.grayscale_to_rgb`), or a preprocess_fn of your own, None for none"
        )
