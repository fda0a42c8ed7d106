"""Preprocessing of images in 0..255 inside the networks, so that an exported model takes plain images."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from mox_core.errors import UsageError

VGG_MEANS: Final = (123.68, 116.78, 103.94)
"""Mean red, green and blue of ImageNet's training images, as published with VGG (arXiv:1409.1556)."""

_HALF_OF_LARGEST = 127.5


def subtract_vgg_means(images: tf.Tensor, run_mode: str) -> tf.Tensor:
    """Subtract the mean colour, for the ImageNet networks."""
    del run_mode
    if images.shape[-1] != len(VGG_MEANS):
        raise UsageError(
            f"images have {images.shape[-1]!r} channels, but the mean colour that is subtracted from them has 3: "
            "give RGB images (`tf.image.grayscale_to_rgb`), or preprocess_fn=None to subtract nothing"
        )
    return in_type_of(images, tf.cast(images, tf.float32) - tf.constant(VGG_MEANS))


def scale_to_unit_range(images: tf.Tensor, run_mode: str) -> tf.Tensor:
    """Scale 0..255 to -1..1, for Inception and the networks that followed it."""
    del run_mode
    return in_type_of(images, tf.cast(images, tf.float32) / _HALF_OF_LARGEST - 1.0)


def standardize_images(images: tf.Tensor, run_mode: str) -> tf.Tensor:
    """Scale each image to mean 0 and variance 1, for the CIFAR networks.

    TF-slim prepares CIFAR-10 so. It needs no statistics of the data set, so that it suits any small images.
    """
    del run_mode
    standardized: tf.Tensor = tf.image.per_image_standardization(tf.cast(images, tf.float32))
    return in_type_of(images, standardized)


def in_type_of(images: tf.Tensor, result: tf.Tensor) -> tf.Tensor:
    """Return the result in the float type of the images, in which the network computes."""
    return tf.cast(result, images.dtype) if images.dtype.is_floating else result
