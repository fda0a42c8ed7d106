"""Lines of the log between runs, which look like those of a run."""

from __future__ import annotations

import tensorflow as tf

from mox_core.sdk import info_logging


def say(text: str, *values: object) -> None:
    """Log a line once, at level INFO, unless the user has chosen a higher one."""
    with info_logging():
        tf.get_logger().info(text, *values)
