"""The process of a parameter server, or of a worker that is not the chief: it serves the chief until that has gone."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, NoReturn

import tensorflow as tf

from mox_core.cluster import presence
from mox_core.engine.loop.signals import catch_signals
from mox_core.engine.tf_internals.remote_functions import call_remote_function, remote_function
from mox_core.engine.tf_internals.server_address import server_address
from mox_core.errors import ClusterError

if TYPE_CHECKING:
    from mox_core.cluster.cluster import Cluster
    from mox_core.engine.loop.signals import ReceivedSignal

_RECEIVED_SIGNAL: Final = "mox/received_signal"
_FIRST_REPORT_SECONDS: Final = 10.0  # a chief takes a few to start TensorFlow's server
_REPORT_SECONDS: Final = 30.0


def cluster_spec(cluster: Cluster) -> tf.train.ClusterSpec:
    """Return TensorFlow's names of the processes: the chief is not one of its workers."""
    return tf.train.ClusterSpec(
        {"chief": [cluster.workers[0]], "worker": list(cluster.workers[1:]), "ps": list(cluster.ps)}
    )


def let_calls_fail_fast() -> None:
    """Make calls to a process that has gone fail instead of wait; call this before TensorFlow's server starts."""
    os.environ.setdefault("GRPC_FAIL_FAST", "use_caller")


def serve(cluster: Cluster, timeout: float) -> NoReturn:
    """Serve the chief until it has gone, and end the process.

    Args:
        cluster: the job.
        timeout: seconds to wait for the chief to come, 0 for no limit.

    Raises:
        SystemExit: when the chief has gone, with code 0.
        ClusterError: if the chief does not come.
    """
    let_calls_fail_fast()
    config = tf.compat.v1.ConfigProto()
    # Each worker may wait in a call to a parameter server: with fewer threads than workers they would all wait.
    config.inter_op_parallelism_threads = max(cluster.num_workers + 1, os.cpu_count() or 1)
    job, index = ("ps", cluster.index) if cluster.job == "ps" else ("worker", cluster.index - 1)
    with (
        catch_signals(
            first=f"{cluster.me} serves on until the chief has saved. A second one ends it.",
            second="the second signal, the process ends at once.",
        ) as received,
        remote_function(_RECEIVED_SIGNAL, lambda: (received.name or "").encode()),  # noqa: PLW0108  (it is read later)
    ):
        with server_address(cluster.server_ip):
            server = tf.distribute.Server(cluster_spec(cluster), job_name=job, task_index=index, config=config)
        tf.get_logger().info("%s serves the chief, %s.", cluster.me, cluster.chief)
        _wait_for_chief(cluster, timeout, received)
        presence.wait_until_gone(cluster.chief, has_run=True)
        del server
    tf.get_logger().info("%s: the chief has gone, this process leaves too.", cluster.me)
    raise SystemExit(0)


def received_signal(device: str) -> str:
    """Return the name of the signal that was sent to the process with a device, '' for none; for the chief.

    Raises:
        tf.errors.OpError: if the process cannot be reached.
    """
    return call_remote_function(_RECEIVED_SIGNAL, device).decode()


def _wait_for_chief(cluster: Cluster, timeout: float, received: ReceivedSignal) -> None:
    """Return when TensorFlow's server of the chief answers, or a signal has come.

    Before it does, the rendezvous of the chief may still listen there, and nobody for as long as TensorFlow starts.

    Raises:
        ClusterError: if it does not answer within the timeout: the chief has died between being found and its start.
    """
    began = time.monotonic()
    next_report = began + _FIRST_REPORT_SECONDS
    while not received.name and not presence.runs(cluster.chief):
        waited = time.monotonic() - began
        if 0 < timeout <= waited:
            raise ClusterError(
                f"{cluster.me} has waited {timeout:g} s in vain for {cluster.chief}: it was found, and has not begun "
                "the run. See what it has said, and start all processes of the job again."
            )
        if began + waited >= next_report:
            next_report += _REPORT_SECONDS
            tf.get_logger().warning(
                "%s has waited %.0f s for %s: it was found, and has not begun the run yet. If it has ended, start it "
                "again.%s",
                cluster.me,
                waited,
                cluster.chief,
                f" This process gives up after {timeout:g} s (--session_timeout)." if timeout else "",
            )
        time.sleep(0.2)
