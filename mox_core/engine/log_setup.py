"""TensorFlow's logger, set up so that each line of a run is shown once."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

import tensorflow as tf
from absl import logging as absl_logging

from mox_core.engine.tf_internals.log_records import comes_from_strategy

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def info_logging() -> Iterator[None]:
    """Show the lines of level INFO of TensorFlow's logger, each once, unless the user has chosen another level."""
    logger = tf.get_logger()
    level, propagate = logger.level, logger.propagate
    if level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    own = None
    if not logger.handlers and absl_logging.get_absl_handler() in logging.getLogger().handlers:
        # TensorFlow was imported after absl.app.run: its lines would come in absl's format.
        own = logging.StreamHandler()
        own.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
        logger.addHandler(own)
    logger.addFilter(is_of_interest)
    forwarding = _Forwarding()
    if logger.handlers:
        # Whatever the root logger has now: any `logging.info(...)` gives it a handler in the middle of a run.
        logger.propagate = False
        logger.addHandler(forwarding)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.removeFilter(is_of_interest)
        logger.removeHandler(forwarding)
        if own is not None:
            logger.removeHandler(own)


def is_of_interest(record: logging.LogRecord) -> bool:
    """Whether a record is not one of the lines that TensorFlow's strategies log for each of their collectives."""
    return not comes_from_strategy(record)


class _Forwarding(logging.Handler):
    """The way of records to the handlers of the root logger, a file for instance, but not to its console."""

    def emit(self, record: logging.LogRecord) -> None:
        for handler in logging.getLogger().handlers:
            console = getattr(handler, "stream", None) in {sys.stderr, sys.stdout}
            if not console and handler is not absl_logging.get_absl_handler() and record.levelno >= handler.level:
                handler.handle(record)
