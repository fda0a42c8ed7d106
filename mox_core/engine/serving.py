"""What the parameter servers and the workers behind the chief do: they serve its TensorFlow, until it has gone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

import tensorflow as tf

# TensorFlow calls Python functions by a token; only its own registry gives one that another process knows.
from tensorflow.python.ops import script_ops  # type: ignore[attr-defined]  # not in the stubs

from mox_core.rendezvous import unreachable, wait_until_gone

if TYPE_CHECKING:
    from mox_core.cluster import Cluster, Process

ASKED_TO_END: Final = "mox/asked_to_end"
"""The token of the function that tells the chief which signal has come here, '' for none."""

_PATIENCE: Final = 3.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def cluster_spec(cluster: Cluster) -> tf.train.ClusterSpec:
    """Returns the names that TensorFlow has for the processes: of the workers, the chief is none."""
    return tf.train.ClusterSpec(
        {"chief": [cluster.workers[0]], "worker": list(cluster.workers[1:]), "ps": list(cluster.ps)}
    )


def prepare() -> None:
    """Lets calls to a process that has gone fail instead of waiting; to be called before TensorFlow's server starts."""
    os.environ.setdefault("GRPC_FAIL_FAST", "use_caller")


def serve(cluster: Cluster, timeout: float) -> NoReturn:
    """Serves the chief until it has gone, and leaves the process.

    Args:
        cluster: the job.
        timeout: for so many seconds it waits for the chief to come; 0: without end.
    """
    prepare()
    config = tf.compat.v1.ConfigProto()
    # Each worker may wait in a call to a parameter server: with fewer threads than workers they would all wait.
    config.inter_op_parallelism_threads = max(cluster.num_workers + 1, os.cpu_count() or 1)
    job, index = ("ps", cluster.index) if cluster.job == "ps" else ("worker", cluster.index - 1)
    received: list[str] = []
    with _signals(cluster, received):
        script_ops._py_funcs._funcs[ASKED_TO_END] = told = _teller(received)  # noqa: SLF001  (see above)
        server = tf.distribute.Server(cluster_spec(cluster), job_name=job, task_index=index, config=config)
        tf.get_logger().info("%s serves the chief, %s.", cluster.me, cluster.chief)
        _wait_for(cluster.chief, timeout)
        wait_until_gone(cluster.chief, _PATIENCE)
        del told, server
    tf.get_logger().info("%s: the chief has gone, this process leaves too.", cluster.me)
    raise SystemExit(0)


def _wait_for(chief: Process, timeout: float) -> None:
    """Returns when TensorFlow's server of the chief listens, or it does not come."""
    end = time.monotonic() + (timeout or float("inf"))
    while unreachable([chief]) and time.monotonic() < end:
        time.sleep(0.2)


def _teller(received: list[str]) -> Any:
    def tell() -> bytes:
        return received[0].encode() if received else b""

    return tell


@contextlib.contextmanager
def _signals(cluster: Cluster, received: list[str]) -> Any:
    """Takes note of signals in the block: the chief asks for them, saves, and ends the job."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, _frame: object) -> None:
        name = signal.Signals(number).name
        if received:
            os.write(2, f"{name}: the second signal, the process ends at once.\n".encode())
            os._exit(128 + number)
        received.append(name)
        tf.get_logger().warning("%s: %s serves on until the chief has saved. A second one ends it.", name, cluster.me)

    before = {each: signal.signal(each, note) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)
