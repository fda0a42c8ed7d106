"""What the data sets of labelled images do with a sample where the user gives a function for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    Features = dict[str, tf.Tensor]


def apply_augmentation(
    features: Features, augmentation_fn: Callable[[tf.Tensor], Any], batch_size: int | None
) -> Features:
    """Returns the features with the image that `augmentation_fn` makes of the 'image'.

    Raises:
        UsageError: where a batch of such images has no one size.
    """
    image = tf.convert_to_tensor(augmentation_fn(features["image"]))
    if batch_size is not None and not image.shape.is_fully_defined():
        raise UsageError(
            f"augmentation_fn gives images of shape {image.shape}, and batch_size={batch_size} needs one "
            "size. Resize in augmentation_fn, or leave batch_size away."
        )
    return features | {"image": image}


def apply_preprocessing(features: Features, preprocess_fn: Callable[..., Any]) -> Features:
    """Returns what `preprocess_fn(image_name, image_buf, label, label_desc)` makes, with the image for its bytes.

    Raises:
        UsageError: where it is not four tensors.
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
