"""The connection of this process to the other workers of its job."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.cluster import presence, rendezvous
from mox_core.cluster.watchdog import watchdog
from mox_core.engine.distribute.collectives import Collective, MultiWorker, SingleProcess
from mox_core.engine.tf_internals.error_messages import connects_too_late
from mox_core.engine.tf_internals.server_address import server_address
from mox_core.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mox_core.cluster.cluster import Cluster, Process

_SECONDS_TO_FIND_THE_LOST: Final = 20.0
"""After a collective has failed, the lost process is looked for this long before the error names none."""

SECONDS_TO_CONNECT: Final = 60.0
"""A process may be unreachable this long after the rendezvous, while TensorFlow starts in it."""

_LOST_WORKER_ERRORS: Final = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)
"""What a collective raises when a process has gone; which of them depends on the moment."""

_strategies: dict[Cluster, Any] = {}
"""The strategy of this process: TensorFlow connects once."""


@contextlib.contextmanager
def connect_workers(cluster: Cluster | None, timeout: float) -> Iterator[Collective]:
    """Connect the workers of a job for the block, and name a worker that is lost in it.

    Args:
        cluster: the job; None for a process alone.
        timeout: seconds to wait for the others, 0 for no limit.

    Raises:
        ClusterError: if a process is missing, or is lost.
    """
    if cluster is None or not cluster.several or cluster.uses_parameter_servers:
        yield SingleProcess()
        return
    with cluster.without_proxies():
        rendezvous.wait_for_peers(cluster, timeout)
        with _naming_the_lost(cluster):
            yield MultiWorker(
                world_size=cluster.num_workers,
                rank=cluster.index,
                synchronous=cluster.synchronous,
                strategy=_strategy(cluster),
            )


def _strategy(cluster: Cluster) -> Any:
    if cluster not in _strategies:
        if _strategies:
            raise UsageError(
                "this process has trained with other hosts before, and TensorFlow connects only once: start a new one."
            )
        # The collectives run on the first GPU where there is one: gradients are there.
        gpus = min(1, len(tf.config.list_physical_devices("GPU")))
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(cluster.workers)}),
            task_type="worker",
            task_id=cluster.index,
            rpc_layer="grpc",
            num_accelerators={"GPU": gpus},
        )
        _send_while_computing()
        try:
            with watchdog(cluster, SECONDS_TO_CONNECT), server_address(cluster.server_ip):
                _strategies[cluster] = tf.distribute.MultiWorkerMirroredStrategy(resolver)
        except RuntimeError as error:
            if not connects_too_late(error):
                raise
            raise UsageError(
                "TensorFlow has begun to compute before mox.run, and then it connects to no other process any more: "
                "call mox.run before anything else of TensorFlow, and make Keras models inside model_fn."
            ) from error
    return _strategies[cluster]


def _send_while_computing() -> None:
    """Let TensorFlow start operations beside others on a single core too, where nobody has said how many threads.

    It has as many threads for operations as cores. One alone runs what has become possible last: what a pack of
    gradients waits for comes when the backward pass is over.
    """
    given = tf.config.threading.get_inter_op_parallelism_threads() or os.environ.get("TF_NUM_INTEROP_THREADS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if cores == 1 and not given:
        with contextlib.suppress(RuntimeError):  # TensorFlow has begun to compute
            tf.config.threading.set_inter_op_parallelism_threads(2)


@contextlib.contextmanager
def _naming_the_lost(cluster: Cluster) -> Iterator[None]:
    """Turn the error of a collective whose other end has gone into one that names it."""
    try:
        yield
    except _LOST_WORKER_ERRORS as error:
        lost = _find_lost(cluster)
        if not lost:
            raise
        names = " and ".join(map(str, lost))
        raise ClusterError(
            f"{names} {'has' if len(lost) == 1 else 'have'} gone, and {cluster.me} cannot go on alone: see what "
            f"{'it has' if len(lost) == 1 else 'they have'} said. Start all processes of the job again: it goes on "
            "from its last checkpoint."
        ) from error


def _find_lost(cluster: Cluster) -> Sequence[Process]:
    workers = [each for each in cluster.peers if each.job == "worker"]
    end = time.monotonic() + _SECONDS_TO_FIND_THE_LOST
    while time.monotonic() < end:
        # One that is about to end may listen a moment longer than it computes.
        if lost := presence.unreachable(workers):
            return lost
        time.sleep(0.1)
    return []
