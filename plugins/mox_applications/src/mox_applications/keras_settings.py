"""What Keras takes from settings of the process while it builds a model, set for the network and put back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tensorflow as tf


@contextlib.contextmanager
def settings_for(dtype: tf.DType) -> Iterator[None]:
    """Build for images as height x width x channels, and compute in their type if that is half precision.

    Weights and the statistics of batch normalization are in float32 all the same. For float32 it is the user's policy
    that holds, as for other layers of Keras.
    """
    layout, policy = keras.config.image_data_format(), keras.config.dtype_policy()
    keras.config.set_image_data_format("channels_last")
    if dtype.size == 2 and policy.compute_dtype != dtype.name:  # noqa: PLR2004  (bytes)
        keras.config.set_dtype_policy(f"mixed_{dtype.name}")
    try:
        yield
    finally:
        keras.config.set_image_data_format(layout)
        keras.config.set_dtype_policy(policy)
