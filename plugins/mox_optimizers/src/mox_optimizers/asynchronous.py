"""What wrappers share that are meant for workers that step on their own."""

from __future__ import annotations

from typing import Final

import tensorflow as tf

from mox_core.flags import get_flag

_SAID: Final = "mox/said_that_wrappers_want_asynchrony"


def num_workers() -> int:
    """Returns how many workers the flag worker_hosts names, 1 where it names none."""
    return max(1, sum(bool(host.strip()) for host in get_flag("worker_hosts").split(",")))


def warn_if_synchronous() -> None:
    """Says once a graph that workers which step together lose what a wrapper is for: box 5-2-1 of the manual.

    A single process loses nothing, and is told nothing.
    """
    graph = tf.compat.v1.get_default_graph()
    if num_workers() == 1 or not get_flag("sync_replicas") or graph.get_collection(_SAID):
        return
    graph.add_to_collection(_SAID, value=True)
    tf.get_logger().warning("Using OptimizerWrapper when sync_replicas is True may cause performance loss.")
