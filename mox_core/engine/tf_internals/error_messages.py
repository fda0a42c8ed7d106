"""What TensorFlow's errors are about, where neither their class nor an attribute tells: read from their messages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import tensorflow as tf

from mox_core.user_code import is_users

_CONNECTS_TOO_LATE: Final = "must be configured at program startup"
_DIFFERENT_SHAPES: Final = ("Cannot batch tensors with different shapes", "Cannot add tensor to the batch")
_IN_ITERATOR: Final = re.compile(r"IteratorGetNext(AsOptional)?(_\d+)?(\]\]|\}\})|\[Op:IteratorGetNext")
"""An operation that has failed. `[[IteratorGetNext/_20]]` stands there for one that got what the iterator had given."""
_NODES: Final = ("\n\t [[", " [Op:")
_PYTHON_LINE: Final = re.compile(r'File "([^"\n]+)", line (\d+), in ')
_STAGE: Final = re.compile(r"\{\{function_node \S+\}\} ?|Error in user-defined function passed to .* iterator: \S+: ")
_ON_WORKER: Final = "/job:worker/"
_PARAMETER_SERVER_LOST: Final = "remote target /job:ps/"


def connects_too_late(error: RuntimeError) -> bool:
    """Whether TensorFlow refuses to connect to other processes because it has computed something before."""
    return _CONNECTS_TOO_LATE in str(error)


def has_different_shapes(error: tf.errors.OpError) -> bool:
    """Whether tf.data cannot batch elements because their shapes differ."""
    return any(each in error.message for each in _DIFFERENT_SHAPES)


def is_of_iterator(error: tf.errors.OpError) -> bool:
    """Whether an error comes from the operations of a dataset, by way of the iterator that reads it."""
    return _IN_ITERATOR.search(error.message) is not None


def cause_of(error: tf.errors.OpError) -> str:
    """Return the line of an error that says what went wrong, without what TensorFlow writes around it.

    Of an exception in Python code, that is the last line: its class and its text.
    """
    message = error.message
    for each in _NODES:
        message = message.partition(each)[0]
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return _STAGE.sub("", lines[-1]).rstrip(".") if lines else type(error).__name__


def python_line_of(error: tf.errors.OpError) -> str:
    """Return the user's line in which Python code called by an operation failed, as 'train.py:12'; '' for none."""
    lines = [f"{Path(file).name}:{line}" for file, line in _PYTHON_LINE.findall(error.message) if is_users(file)]
    return lines[-1] if lines else ""


def lost_worker(error: Exception) -> bool:
    """Whether a worker of a parameter server job cannot be reached, and not a parameter server."""
    lost = isinstance(error, (tf.errors.UnavailableError, tf.errors.AbortedError))
    return lost and _ON_WORKER in str(error) and _PARAMETER_SERVER_LOST not in str(error)
