"""Leaving the graph in which the sessions of a script run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def outside_of_graphs() -> Iterator[None]:
    """Execute eagerly in the block, whatever is around it.

    `tf.init_scope` leaves the graphs of functions only, and a data set may be made in `tf.Graph().as_default()`.
    """
    with tf.__internal__.eager_context.eager_mode(), tf.init_scope():
        yield
