"""What reading records changes in TensorFlow's private modules, and takes back."""

from __future__ import annotations

import contextlib
import importlib
import threading
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Iterator

MOVED_OPS: Final[tuple[tuple[str, str, Any], ...]] = (
    ("tensorflow.python.ops.array_ops", "stack", tf.stack),
    ("tensorflow.python.ops.control_flow_ops", "case", tf.compat.v1.case),
    ("tensorflow.python.ops.control_flow_ops", "cond", tf.compat.v1.cond),
)
"""Module and name under which tf_slim's handlers call an operation, and the operation, which TensorFlow has moved."""

_one_at_a_time = threading.RLock()


def is_of_slim(handler: object) -> bool:
    """Return whether a handler is one of tf_slim's, or derived from one."""
    return any(kind.__module__.startswith("tf_slim.") for kind in type(handler).mro())


@contextlib.contextmanager
def ops_of_slim() -> Iterator[None]:
    """Put operations where tf_slim's handlers call them, for the block; one thread at a time."""
    with _one_at_a_time, contextlib.ExitStack() as stack:
        for module, name, operation in MOVED_OPS:
            namespace = vars(importlib.import_module(module))
            if name not in namespace:
                namespace[name] = operation
                stack.callback(namespace.pop, name)
        yield
