"""The data augmentation of Inception for `mox.get_data_augmentation_fn`, which MobileNets and NASNets share.

As in `augmentation.py`, the result is float32 in 0..255 with a static shape, and random numbers are drawn once an image
by the plain `tf.random` API, outside of loops and branches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.modes import ModeKeys
from mox_core.networks.augmentation import checked_image, flipped, output_size, resized
from mox_core.networks.checks import check_flag, check_run_mode, check_unknown

if TYPE_CHECKING:
    from mox_core.networks.augmentation import AugmentationFn

Change = Callable[[tf.Tensor], tf.Tensor]

_SIZE = 299
_AREA, _ASPECT = (0.05, 1.0), (0.75, 1.33)
_SEEN = 0.1  # at least this part of the image is in a crop
_ATTEMPTS = 100
_CENTRE = 0.875
_LARGEST = 255.0
_BRIGHTNESS, _SATURATION, _HUE, _CONTRAST = 32 / 255, (0.5, 1.5), 0.2, (0.5, 1.5)
_FAST_ORDERS = ("bs", "sb", "sb", "sb")
_ORDERS = ("bshc", "sbch", "chbs", "hscb")
_METHODS = ("bilinear", "nearest", "bicubic", "area")


def inception(
    *,
    run_mode: str,
    output_height: int | None = None,
    output_width: int | None = None,
    random_flip: bool = True,
    fast_mode: bool = True,
    **unknown: Any,
) -> AugmentationFn:
    """The scheme of Inception (arXiv:1409.4842, section 6) as TF-slim has it.

    TRAIN: a random region, of a tenth of the image up to all of it, and 3:4 to 4:3 in its proportions, is resized to
    the output without regard to these, mirrored at random, and its colours are changed at random. Other modes: the
    central 87.5% of height and width are resized.

    Args:
        run_mode: the mode; only TRAIN draws random numbers.
        output_height: 299 if not given.
        output_width: 299 if not given.
        random_flip: whether to mirror; False where left and right matter, as for digits.
        fast_mode: whether to change brightness and saturation only, in one of two orders, and resize bilinearly;
            otherwise hue and contrast too, in one of four orders, and one of four ways to resize.
        unknown: unknown options, an error.

    Raises:
        UsageError: if an option is unknown or wrong; or, from the returned function, if the image is wrong.
    """
    check_unknown(unknown, owner="the Inception augmentation", known="random_flip, fast_mode")
    check_run_mode(run_mode)
    check_flag("random_flip", random_flip)
    check_flag("fast_mode", fast_mode)
    output = output_size(output_height, output_width, default=_SIZE)

    def augment(image: tf.Tensor) -> tf.Tensor:
        image = checked_image(image)
        if run_mode != ModeKeys.TRAIN:
            return resized(tf.image.central_crop(image, _CENTRE), output, "bilinear")
        region = _random_region(image)
        methods, orders = (_METHODS[:1], _FAST_ORDERS) if fast_mode else (_METHODS, _ORDERS)
        way = tf.random.uniform([], maxval=len(methods), dtype=tf.int32)
        image = _one_of(way, [partial(resized, output=output, method=name) for name in methods], region)
        if random_flip:
            image = flipped(image, tf.random.uniform([]))
        return _distorted(image, orders)

    return augment


def _random_region(image: tf.Tensor) -> tf.Tensor:
    largest = tf.int32.max
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=tf.random.uniform([2], maxval=largest, dtype=tf.int32),
        min_object_covered=_SEEN,
        aspect_ratio_range=_ASPECT,
        area_range=_AREA,
        max_attempts=_ATTEMPTS,
    )
    region: tf.Tensor = tf.ensure_shape(tf.slice(image, begin, size), [None, None, 3])
    return region


def _distorted(image: tf.Tensor, orders: tuple[str, ...]) -> tf.Tensor:
    """Return the image with random changes of its colours, in one of several orders, cut off at 0 and 255."""
    brightness, saturation = tf.random.uniform([], -_BRIGHTNESS, _BRIGHTNESS), tf.random.uniform([], *_SATURATION)
    hue, contrast = tf.random.uniform([], -_HUE, _HUE), tf.random.uniform([], *_CONTRAST)
    order = tf.random.uniform([], maxval=len(orders), dtype=tf.int32)
    changes: dict[str, Change] = {
        "b": lambda net: net + brightness,
        "s": lambda net: tf.image.adjust_saturation(net, saturation),
        "h": lambda net: tf.image.adjust_hue(net, hue),
        "c": lambda net: tf.image.adjust_contrast(net, contrast),
    }

    def all_of(letters: str) -> Change:
        def change(net: tf.Tensor) -> tf.Tensor:
            for letter in letters:
                net = changes[letter](net)
            return net

        return change

    changed = _one_of(order, [all_of(letters) for letters in orders], image / _LARGEST)
    result: tf.Tensor = tf.clip_by_value(changed, 0.0, 1.0) * _LARGEST
    return result


def _one_of(index: tf.Tensor, changes: list[Change], image: tf.Tensor) -> tf.Tensor:
    """Return what one of several changes makes of an image; only that one is computed."""
    if len(changes) == 1:
        return changes[0](image)
    result: tf.Tensor = tf.switch_case(index, [partial(change, image) for change in changes])
    return result
