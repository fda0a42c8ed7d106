"""What TensorFlow's log lines are about, where nothing but the place of their origin tells."""

from __future__ import annotations

import logging
from typing import Final

_STRATEGIES: Final = "/tensorflow/python/distribute/"


def comes_from_strategy(record: logging.LogRecord) -> bool:
    """Whether a line is one that TensorFlow's strategies log for each of their collectives; warnings are not."""
    return record.levelno <= logging.INFO and _STRATEGIES in record.pathname
