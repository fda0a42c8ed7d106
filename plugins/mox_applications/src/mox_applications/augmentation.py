"""The augmentations for `mox.get_data_augmentation_fn`, one for each network: the scheme of its paper, in its size."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_applications.families import APPLICATIONS
from mox_core.modes import ModeKeys
from mox_core.networks.augmentation import checked_image, output_size, vgg
from mox_core.networks.inception_augmentation import inception

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_core.networks.augmentation import AugmentationFn

_MARGIN = 32
_LARGEST = 255.0


def __getattr__(name: str) -> Callable[..., AugmentationFn]:
    if name not in APPLICATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return augmentation(name)


@cache
def augmentation(name: str) -> Callable[..., AugmentationFn]:
    """Return the augmentation of a network."""
    scheme = _SCHEMES[APPLICATIONS[name].family.scheme]
    size = APPLICATIONS[name].size

    def augment(
        *, run_mode: str, output_height: int | None = None, output_width: int | None = None, **options: Any
    ) -> AugmentationFn:
        height, width = output_size(output_height, output_width, default=size)
        return scheme(run_mode=run_mode, output_height=height, output_width=width, **options)

    augment.__name__ = name
    augment.__doc__ = f"{scheme.__doc__}\n\n    Without a size the output has {size} x {size} pixels."
    return augment


def efficientnet(*, run_mode: str, output_height: int, output_width: int, **options: Any) -> AugmentationFn:
    """The scheme of EfficientNet (arXiv:1905.11946): that of Inception in TRAIN, with all of its options.

    Other modes: the largest region in the middle that has a margin of 16 pixels of the output around it, and the
    output's proportions, is resized bicubically.
    """
    train = inception(run_mode=run_mode, output_height=output_height, output_width=output_width, **options)
    output = (output_height, output_width)

    def augment(image: tf.Tensor) -> tf.Tensor:
        image = checked_image(image)
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        scale = tf.reduce_min(size / [side + _MARGIN for side in output])
        region = tf.maximum(tf.round(tf.constant(output, tf.float32) * scale), 1.0)
        begin = tf.pad(tf.cast((size - region) / 2, tf.int32), [[0, 1]])
        part = tf.slice(image, begin, tf.concat([tf.cast(region, tf.int32), [3]], 0))
        return tf.clip_by_value(tf.image.resize(part, output, "bicubic"), 0.0, _LARGEST)

    return train if run_mode == ModeKeys.TRAIN else augment


_SCHEMES: dict[str, Callable[..., AugmentationFn]] = {
    "vgg": vgg,
    "inception": inception,
    "efficientnet": efficientnet,
}
