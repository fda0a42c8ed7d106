"""The data augmentation of LeNet and CifarNet for `mox.get_data_augmentation_fn`, as TF-slim has it.

The result is float32 with a static shape. Random numbers are drawn once an image by the plain `tf.random` API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.modes import ModeKeys
from mox_core.networks.augmentation import checked_image, cifar, output_size
from mox_core.networks.checks import check_run_mode, check_unknown

if TYPE_CHECKING:
    from mox_core.networks.augmentation import AugmentationFn

_LENET_SIZE = 28
_BRIGHTNESS, _CONTRAST = 63.0, (0.2, 1.8)


def lenet(
    *, run_mode: str, output_height: int | None = None, output_width: int | None = None, **unknown: Any
) -> AugmentationFn:
    """The centre of the image, with black pixels around it where it is smaller, in all modes: nothing is random.

    Args:
        run_mode: the mode.
        output_height: 28 if not given.
        output_width: 28 if not given.
        unknown: unknown options, an error.

    Raises:
        UsageError: if an option is unknown or wrong; or, from the returned function, if the image is wrong.
    """
    check_unknown(unknown, owner="the LeNet augmentation", known="none besides the size of the output")
    check_run_mode(run_mode)
    output = output_size(output_height, output_width, default=_LENET_SIZE)

    def augment(image: tf.Tensor) -> tf.Tensor:
        image = tf.cast(checked_image(image, channels=None), tf.float32)
        fitted: tf.Tensor = tf.image.resize_with_crop_or_pad(image, *output)
        return fitted

    return augment


def cifarnet(*, run_mode: str, **options: Any) -> AugmentationFn:
    """The scheme of `cifar`, followed in TRAIN by random brightness and contrast.

    As in slim, the result may lie outside of 0..255 in TRAIN: the network standardizes each image.

    Args:
        run_mode: the mode; only TRAIN draws random numbers.
        options: `output_height` and `output_width`, 32 if not given, and `random_flip`.

    Raises:
        UsageError: if an option is unknown or wrong; or, from the returned function, if the image is wrong.
    """
    crop = cifar(run_mode=run_mode, **options)
    if run_mode != ModeKeys.TRAIN:
        return crop

    def augment(image: tf.Tensor) -> tf.Tensor:
        brightness, contrast = tf.random.uniform([], -_BRIGHTNESS, _BRIGHTNESS), tf.random.uniform([], *_CONTRAST)
        changed: tf.Tensor = tf.image.adjust_contrast(crop(image) + brightness, contrast)
        return changed

    return augment
