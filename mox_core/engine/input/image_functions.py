"""The user's functions on a sample of the data sets of labelled images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_core.engine.tensors import Features


def apply_augmentation(
    features: Features, augmentation_fn: Callable[[tf.Tensor], Any], batch_size: int | None
) -> Features:
    """Return the features with `augmentation_fn` applied to the 'image'.

    Args:
        features: the features of a sample.
        augmentation_fn: function of an image.
        batch_size: samples in a batch, None for single samples.

    Raises:
        UsageError: if a batch is wanted and the images have no fixed size.
    """
    image = tf.convert_to_tensor(augmentation_fn(features["image"]))
    if batch_size is not None and not image.shape.is_fully_defined():
        raise UsageError(
            f"augmentation_fn gives images of shape {image.shape}, and batch_size={batch_size} needs one "
            "size. Resize in augmentation_fn, or leave batch_size away."
        )
    return features | {"image": image}


def make_image(
    image: tf.Tensor, *, image_size: int | tuple[int, int] | None, augmentation_fn: Callable[[tf.Tensor], Any] | None
) -> tf.Tensor:
    """Return the feature 'image' of a decoded image, for `SampleSource.make_image`."""
    image = resize_image(image, image_size)
    return image if augmentation_fn is None else tf.convert_to_tensor(augmentation_fn(image))


def apply_preprocessing(features: Features, preprocess_fn: Callable[..., Any]) -> Features:
    """Return the features with what `preprocess_fn(image_name, image_buf, label, label_desc)` returns.

    Its second tensor, the image, becomes 'image' in place of 'image_buf'.

    Raises:
        UsageError: if it does not return four tensors.
    """
    names = ("image_name", "image_buf", "label", "label_desc")
    result = preprocess_fn(*(features[name] for name in names))
    if not isinstance(result, (list, tuple)) or len(result) != len(names):
        raise UsageError(
            f"preprocess_fn returned {result!r}; it must return four tensors: image_name, image, label, label_desc."
        )
    others = {name: tensor for name, tensor in features.items() if name not in names}
    given = zip(("image_name", "image", "label", "label_desc"), result, strict=True)
    return others | {name: tf.convert_to_tensor(value) for name, value in given}


def resize_image(image: tf.Tensor, size: int | tuple[int, int] | None) -> tf.Tensor:
    """Return an image resized to the nearest pixels, as MoXing does.

    Args:
        image: the image, [height, width, 3].
        size: (height, width), or the side of a square; None for the image as it is.
    """
    if size is None:
        return image
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    resized = tf.image.resize(image, [height, width], method=tf.image.ResizeMethod.NEAREST_NEIGHBOR)
    return tf.ensure_shape(resized, [height, width, 3])
