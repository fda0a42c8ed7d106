"""What was said of a data set: once in a process, though `input_fn` makes it anew for each mode."""

from __future__ import annotations

import threading
from typing import Final

_said: Final[set[str]] = set()
_lock: Final = threading.Lock()


def is_new(text: str) -> bool:
    """Whether a text is asked for here for the first time in this process."""
    with _lock:
        known = text in _said
        _said.add(text)
        return not known


def warn_once(text: str) -> None:
    """Log a warning, unless this process has done so."""
    if is_new(text):
        import tensorflow as tf

        tf.get_logger().warning("%s", text)
