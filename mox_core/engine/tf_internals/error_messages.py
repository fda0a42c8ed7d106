"""What TensorFlow's errors are about, where neither their class nor an attribute tells: read from their messages."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

_CONNECTS_TOO_LATE: Final = "must be configured at program startup"
_DIFFERENT_SHAPES: Final = ("Cannot batch tensors with different shapes", "Cannot add tensor to the batch")
_ON_WORKER: Final = "/job:worker/"
_PARAMETER_SERVER_LOST: Final = "remote target /job:ps/"


def connects_too_late(error: RuntimeError) -> bool:
    """Whether TensorFlow refuses to connect to other processes because it has computed something before."""
    return _CONNECTS_TOO_LATE in str(error)


def has_different_shapes(error: tf.errors.OpError) -> bool:
    """Whether tf.data cannot batch elements because their shapes differ."""
    return any(each in error.message for each in _DIFFERENT_SHAPES)


def lost_worker(error: Exception) -> bool:
    """Whether a worker of a parameter server job cannot be reached, and not a parameter server."""
    lost = isinstance(error, (tf.errors.UnavailableError, tf.errors.AbortedError))
    return lost and _ON_WORKER in str(error) and _PARAMETER_SERVER_LOST not in str(error)
