"""Workers that do not step together: the variables are on parameter servers.

Worker 0, the chief, calls `mox.run` as a process alone would: it trains on its own device, and saves, logs, evaluates
and exports. All other processes are servers (`server_process`): the chief has the other workers run steps of the same
graph on input of their own (`remote_workers`), while its own loop goes on (`async_loop`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import tensorflow as tf
from attrs import field, frozen

from mox_core.cluster import presence, rendezvous
from mox_core.cluster.watchdog import watchdog
from mox_core.engine.distribute.collectives import Collective, SingleProcess
from mox_core.engine.distribute.connection import SECONDS_TO_CONNECT
from mox_core.engine.log_setup import is_of_interest
from mox_core.engine.parameter_server import server_process
from mox_core.engine.tf_internals.optimizers import share_step_counter
from mox_core.engine.tf_internals.server_address import server_address
from mox_core.errors import ClusterError, MoxError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mox_core.arguments import RunConfig
    from mox_core.cluster.cluster import Cluster, Process
    from mox_core.engine.tensors import GradsAndVars

T = TypeVar("T")

_joined: list[ParameterServers] = []
_process_scope = contextlib.ExitStack()
"""What lasts as long as the process: TensorFlow connects once."""


@contextlib.contextmanager
def connect_parameter_servers(config: RunConfig) -> Iterator[ParameterServers | None]:
    """Connect to the parameter servers of a job for the block; None where it has none, or does not train.

    Processes other than the chief end in here.

    Raises:
        UsageError: if each worker has several devices.
    """
    cluster = config.cluster
    if cluster is None or not cluster.uses_parameter_servers:
        yield None
        return
    if config.num_replicas > 1:
        raise UsageError(
            f"--num_gpus={config.num_replicas} with --sync_replicas=False and --ps_hosts: each worker trains on one "
            "device there. Start a worker for each device, or let the workers step together, without "
            "--sync_replicas=False."
        )
    servers = join(cluster, config.session_timeout)
    if not config.training:
        yield None
        return
    with servers.naming_the_lost():
        yield servers


def join(cluster: Cluster, timeout: float) -> ParameterServers:
    """Find the other processes of a job, and make the chief their coordinator; the others never return.

    Args:
        cluster: the job.
        timeout: seconds to wait for the others, 0 for no limit.

    Raises:
        ClusterError: if a process is missing.
        SystemExit: in a process that is not the chief, when the chief has gone.
    """
    if _joined:
        return _joined[0]
    rendezvous.wait_for_peers(cluster, timeout)
    _process_scope.enter_context(cluster.without_proxies())
    if not cluster.is_chief:
        server_process.serve(cluster, timeout)
    server_process.let_calls_fail_fast()
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        server_process.cluster_spec(cluster), task_type="chief", task_id=0, rpc_layer="grpc"
    )
    with watchdog(cluster, SECONDS_TO_CONNECT), server_address(cluster.server_ip):
        strategy = tf.distribute.ParameterServerStrategy(resolver)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    # The coordinator logs at the end of the process too, when the run has removed its own filter.
    tf.get_logger().addFilter(lambda record: is_of_interest(record))  # noqa: PLW0108  (another object)
    _joined.append(ParameterServers(cluster, coordinator))
    return _joined[0]


@frozen(eq=False)
class ParameterServers:
    """A replica on each worker, with variables on parameter servers.

    Attributes:
        cluster: the job.
        coordinator: the `ClusterCoordinator` of the chief.
        devices: the device of the chief's replica, which is not named.
        collective: this process alone: no other one is in this run.
    """

    cluster: Cluster
    coordinator: Any
    devices: tuple[str | None, ...] = (None,)
    collective: Collective = field(factory=SingleProcess)
    tracks_positions: ClassVar[bool] = False
    reader: ClassVar[int] = 0

    @property
    def num_readers(self) -> int:
        """All workers share the samples."""
        return self.cluster.num_workers

    def run(self, function: Callable[[int], T]) -> list[T]:
        """Call a function once: the graph is the same on every worker."""
        return [function(0)]

    def reduce_mean(self, gradients: Sequence[GradsAndVars]) -> list[GradsAndVars]:
        """Return the gradients: each worker applies its own."""
        return list(gradients)

    def device_scope(self, name: str, known: Mapping[str, tf.Variable]) -> contextlib.AbstractContextManager[None]:
        """Put a slot on the server of its variable, and another variable on the server that holds the fewest bytes."""
        owner = name
        while owner := owner.rpartition("/")[0]:
            if owner in known:
                return tf.device(known[owner].device)
        devices = [f"/job:ps/replica:0/task:{number}/device:CPU:0" for number in range(len(self.cluster.ps))]
        held = dict.fromkeys(devices, 0)
        for variable in known.values():
            if variable.device in held:
                held[variable.device] += (variable.shape.num_elements() or 0) * variable.dtype.size
        return tf.device(min(devices, key=held.__getitem__))

    def prepare_optimizer(self, optimizer: Any) -> None:
        """Make the counter of a Keras optimizer count the steps of all workers.

        Raises:
            UsageError: if the optimizer averages workers by itself.
        """
        while optimizer is not None:
            if getattr(optimizer, "averages_workers", False):
                raise UsageError(
                    f"{type(optimizer).__name__} exchanges weights among workers that each have their own, and with "
                    "--ps_hosts all workers share one set: leave the wrapper out, or leave --ps_hosts out."
                )
            share_step_counter(optimizer)
            optimizer = getattr(optimizer, "optimizer", None)

    @contextlib.contextmanager
    def naming_the_lost(self) -> Iterator[None]:
        """Name a parameter server that has gone, in place of TensorFlow's error.

        Raises:
            ClusterError: if one has.
        """
        try:
            yield
        except MoxError:
            raise
        except Exception as error:
            gone = self.gone_servers()
            if not gone:
                raise
            raise ClusterError(
                f"{' and '.join(map(str, gone))} {'has' if len(gone) == 1 else 'have'} gone, and the variables there "
                "are lost: this run cannot go on. Start all processes of the job again: it goes on from its last "
                "checkpoint."
            ) from error

    def gone_servers(self) -> list[Process]:
        """Return the parameter servers at whose addresses nobody listens."""
        return presence.unreachable(each for each in self.cluster.processes if each.job == "ps")

    def gone_workers(self) -> list[Process]:
        """Return the other workers at whose addresses nobody listens."""
        return presence.unreachable(each for each in self.cluster.processes if each.job == "worker" and each.index)

    def signal_elsewhere(self, gone: Sequence[Process]) -> str:
        """Return the name of a signal that another process was sent, '' for none; gone ones are not asked."""
        for process in self.cluster.processes:
            if process == self.cluster.chief or process in gone:
                continue
            job, task = ("ps", process.index) if process.job == "ps" else ("worker", process.index - 1)
            with contextlib.suppress(tf.errors.OpError):
                if name := server_process.received_signal(f"/job:{job}/replica:0/task:{task}/device:CPU:0"):
                    return name
        return ""
