"""Python functions that another process of the cluster calls by a name.

TensorFlow calls Python functions by tokens that it numbers in each process. Only an entry in its own registry gives a
function a token that another process knows.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import tensorflow as tf
from tensorflow.python.ops import script_ops  # type: ignore[attr-defined]  # not in the stubs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def remote_function(token: str, function: Callable[[], bytes]) -> Iterator[None]:
    """Register a function that returns bytes for other processes, for the block."""
    functions = script_ops._py_funcs._funcs  # noqa: SLF001  (see above)
    functions[token] = function
    try:
        yield
    finally:
        functions.pop(token, None)


def call_remote_function(token: str, device: str) -> bytes:
    """Call a function of the process that has a device.

    Raises:
        tf.errors.OpError: if the process cannot be reached, or has no such function.
    """
    with tf.device(device):
        (result,) = tf.raw_ops.PyFunc(input=[], token=token, Tout=[tf.string])
        value: bytes = result.numpy()
    return value
