"""The warning of wrappers that are meant for workers that step on their own."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from mox_core.sdk import independent_workers, number_of_workers

_SAID: Final = "mox/said_that_wrappers_want_asynchrony"


def warn_if_synchronous() -> None:
    """Warn, once for a graph, that such a wrapper may slow down workers that step together: box 5-2-1 of the manual.

    There is no warning in a single process.
    """
    graph = tf.compat.v1.get_default_graph()
    if number_of_workers() == independent_workers() or graph.get_collection(_SAID):
        return
    graph.add_to_collection(_SAID, value=True)
    tf.get_logger().warning("Using OptimizerWrapper when sync_replicas is True may cause performance loss.")
