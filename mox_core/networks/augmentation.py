"""Data augmentation for `mox.get_data_augmentation_fn`: from an image of any size to one of a given size.

The result is float32 in 0..255 with a static shape. Means are not subtracted: the networks do that. Random numbers are
drawn once an image by the plain `tf.random` API, outside of loops and branches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.modes import ModeKeys
from mox_core.networks.checks import check_count, check_run_mode, check_unknown

AugmentationFn = Callable[[tf.Tensor], tf.Tensor]

_VGG_SIZE, _VGG_SIDE_MIN, _VGG_SIDE_MAX = 224, 256, 512
_CIFAR_SIZE, _CIFAR_PADDING = 32, 4
_FLIPPED_PART = 0.5
_AROUND = 2.0  # pixels of the original: bilinear interpolation needs 1, and rounding may take one
_RGB = 3


def vgg(
    *,
    run_mode: str,
    output_height: int | None = None,
    output_width: int | None = None,
    resize_side_min: int | None = None,
    resize_side_max: int | None = None,
    random_flip: bool = True,
    **unknown: Any,
) -> AugmentationFn:
    """The scheme of VGG (arXiv:1409.1556, section 3.1) for photographs.

    TRAIN: the image is resized so that its smaller side has a random length, cropped at a random place, and mirrored at
    random. Other modes: the smaller side gets `resize_side_min`, and the centre is cropped.

    In TRAIN the region of the crop is cut out of the original, in whole pixels of it, and only that is resized: the
    same scheme, over twice as fast. In the other modes too only the crop is computed, with exactly the pixels of
    resizing first.

    Args:
        run_mode: the mode; only TRAIN draws random numbers.
        output_height: 224 if not given.
        output_width: 224 if not given.
        resize_side_min: 256 if not given, or the larger side of the output if that is more, for the output is cut out
            of the resized image.
        resize_side_max: 512 if not given, or `resize_side_min` if that is more.
        random_flip: whether to mirror; False where left and right matter, as for digits.
        unknown: unknown options, an error.

    Raises:
        UsageError: if an option is unknown or wrong; or, from the returned function, if the image is wrong.
    """
    check_unknown(unknown, owner="the VGG augmentation", known="resize_side_min, resize_side_max, random_flip")
    check_run_mode(run_mode)
    output = output_size(output_height, output_width, default=_VGG_SIZE)
    needed = max(output)
    smallest = check_count(
        "resize_side_min", max(_VGG_SIDE_MIN, needed) if resize_side_min is None else resize_side_min
    )
    largest = check_count(
        "resize_side_max", max(_VGG_SIDE_MAX, smallest) if resize_side_max is None else resize_side_max
    )
    if not needed <= smallest <= largest:
        raise UsageError(
            f"resize_side_min is {smallest!r} and resize_side_max {largest!r} for an output of "
            f"{output[0]} x {output[1]}, but they must be in this order, and at least {needed} for the output to fit in"
        )

    def augment(image: tf.Tensor) -> tf.Tensor:
        image = checked_image(image)
        if run_mode == ModeKeys.TRAIN:
            return _random_region(image, output, smallest, largest, random_flip=random_flip)
        size = _size(image)
        resized = tf.maximum(tf.round(size * (smallest / tf.reduce_min(size))), output)
        return _window(image, size, resized, tf.floor((resized - output) / 2), output)

    return augment


def cifar(
    *,
    run_mode: str,
    output_height: int | None = None,
    output_width: int | None = None,
    random_flip: bool = True,
    **unknown: Any,
) -> AugmentationFn:
    """The scheme of He et al. 2015 (arXiv:1512.03385, section 4.2) for small images.

    An image of another size is first resized, in its own proportions, to the smallest size that holds the output.
    TRAIN: 4 black pixels are put around it, and the output is cropped at a random place and mirrored at random.
    Other modes: the centre is cropped.

    Args:
        run_mode: the mode; only TRAIN draws random numbers.
        output_height: 32 if not given.
        output_width: 32 if not given.
        random_flip: whether to mirror; False where left and right matter, as for digits.
        unknown: unknown options, an error.

    Raises:
        UsageError: if an option is unknown or wrong; or, from the returned function, if the image is wrong.
    """
    check_unknown(unknown, owner="the CIFAR augmentation", known="random_flip")
    check_run_mode(run_mode)
    output = output_size(output_height, output_width, default=_CIFAR_SIZE)

    def augment(image: tf.Tensor) -> tf.Tensor:
        image = checked_image(image)
        size = _size(image)
        whole = tf.maximum(tf.round(size * tf.reduce_max(output / size)), output)
        image = resized(image, tf.cast(whole, tf.int32))
        if run_mode != ModeKeys.TRAIN:
            return _cropped(image, (whole - output) / 2, output)
        top, left, flip = tf.unstack(tf.random.uniform([3]))
        image = tf.pad(image, [[_CIFAR_PADDING] * 2, [_CIFAR_PADDING] * 2, [0, 0]])
        image = _cropped(image, tf.stack([top, left]) * (whole - output + (2 * _CIFAR_PADDING + 1)), output)
        return flipped(image, flip) if random_flip else image

    return augment


def output_size(height: int | None, width: int | None, *, default: int) -> tuple[int, int]:
    """Return height and width of the output as checked numbers, `default` where none is given."""
    return (
        check_count("output_height", default if height is None else height),
        check_count("output_width", default if width is None else width),
    )


def checked_image(image: tf.Tensor, channels: int | None = 3) -> tf.Tensor:
    """Return an image with its static shape; `channels` is the number of channels that it must have, None for any.

    Raises:
        UsageError: if its dtype or shape is wrong.
    """
    image = tf.convert_to_tensor(image)
    if not (image.dtype.is_integer or image.dtype.is_floating):
        raise UsageError(
            f"the image has dtype {image.dtype.name!r}, which must be an integer or float type: decode it first"
        )
    if not image.shape.is_compatible_with([None, None, channels]):
        colours = " and in RGB (`tf.image.grayscale_to_rgb`)" if channels == _RGB else ""
        raise UsageError(
            f"the image has shape {image.shape}, which must be [height, width, {channels or 'channels'}]: "
            f"augment images one by one, before they are batched,{colours}".removesuffix(",")
        )
    checked: tf.Tensor = tf.ensure_shape(image, [None, None, channels])
    return checked


def _size(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.shape(image)[:2], tf.float32)


def _random_region(
    image: tf.Tensor, output: tuple[int, int], smallest: int, largest: int, *, random_flip: bool
) -> tf.Tensor:
    size = _size(image)
    scale, top, left, flip = tf.unstack(tf.random.uniform([4]))
    side = smallest + tf.floor(scale * (largest - smallest + 1))
    region = tf.maximum(tf.round(tf.constant(output, tf.float32) * (tf.reduce_min(size) / side)), 1.0)
    begin = tf.floor(tf.stack([top, left]) * (size - region + 1.0))
    part = tf.slice(image, tf.pad(tf.cast(begin, tf.int32), [[0, 1]]), tf.concat([tf.cast(region, tf.int32), [3]], 0))
    part = resized(part, output)
    return flipped(part, flip) if random_flip else part


def _cropped(image: tf.Tensor, begin: tf.Tensor, output: tuple[int, int]) -> tf.Tensor:
    cropped: tf.Tensor = tf.slice(image, tf.pad(tf.cast(begin, tf.int32), [[0, 1]]), [*output, 3])
    return cropped


def _window(
    image: tf.Tensor, size: tf.Tensor, resized: tf.Tensor, begin: tf.Tensor, output: tuple[int, int]
) -> tf.Tensor:
    """Return the output that begins at `begin` in the image resized bilinearly to `resized`; only that is computed.

    What it is interpolated from is cut out first: of a JPEG, mox decodes no more than that.
    """
    scale = resized / size
    first = tf.maximum(tf.floor(begin / scale - _AROUND), 0.0)
    last = tf.minimum(tf.math.ceil((begin + output) / scale + _AROUND), size)
    shape = tf.concat([tf.cast(last - first, tf.int32), [3]], 0)
    window: tf.Tensor = tf.raw_ops.ScaleAndTranslate(
        images=tf.expand_dims(tf.slice(image, tf.pad(tf.cast(first, tf.int32), [[0, 1]]), shape), 0),
        size=output,
        scale=scale,
        translation=first * scale - begin,
        kernel_type="triangle",
        antialias=False,
    )
    return window[0]


def resized(image: tf.Tensor, output: Any, method: str = "bilinear") -> tf.Tensor:
    """Return the image as float32 in another size.

    TensorFlow resizes float32 about twice as fast as uint8, to the same bits; that saves more than the conversion costs
    where the image is less than some six times as large as the output.
    """
    resized: tf.Tensor = tf.image.resize(tf.cast(image, tf.float32), output, method=method)
    return resized


def flipped(image: tf.Tensor, random: tf.Tensor) -> tf.Tensor:
    """Return the image, mirrored if `random`, uniform in [0, 1), is below one half; else without a copy."""
    flipped: tf.Tensor = tf.cond(random < _FLIPPED_PART, lambda: tf.reverse(image, [1]), lambda: image)
    return flipped
