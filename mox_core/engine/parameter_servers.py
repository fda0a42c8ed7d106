"""Workers that do not step together: their variables are on parameter servers.

Worker 0, the chief, runs `mox.run` as a process alone would: it trains on its own device, and saves, logs, evaluates
and exports. All other processes serve (`serving`): the chief has the other workers run steps of the same graph on input
of their own (`remote`), while its own loop goes on (`asynchronous`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import tensorflow as tf
from attrs import field, frozen

from mox_core import rendezvous
from mox_core.engine import far_input, logs, serving
from mox_core.engine.ledger import Ledger
from mox_core.engine.remote import RemoteWorkers
from mox_core.engine.sources import Order
from mox_core.engine.state import PROGRESS
from mox_core.engine.workers import Alone
from mox_core.errors import ClusterError, MoxError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mox_core.arguments import Job
    from mox_core.cluster import Cluster, Process
    from mox_core.engine.checkpoint import Checkpoint
    from mox_core.engine.inputs import InputPipeline
    from mox_core.engine.modelgraph import ModelGraph
    from mox_core.engine.state import RunState
    from mox_core.engine.workers import Peers

    Pairs = list[tuple[Any, tf.Variable]]
    T = TypeVar("T")

_joined: list[ParameterServers] = []


@contextlib.contextmanager
def of(job: Job) -> Iterator[ParameterServers | None]:
    """Joins the parameter servers of a job for the block; None where it has none, or does not train.

    Processes other than the chief leave in here.

    Raises:
        UsageError: where each worker has several devices.
    """
    cluster = job.cluster
    if cluster is None or not cluster.serving:
        yield None
        return
    if job.num_copies > 1:
        raise UsageError(
            f"--num_gpus={job.num_copies} with --sync_replicas=False and --ps_hosts: each worker trains on one device "
            "there. Start a worker for each device, or let the workers step together, without --sync_replicas=False."
        )
    servers = join(cluster, job.session_timeout)
    if not job.training:
        yield None
        return
    with servers.faults_named():
        yield servers


def join(cluster: Cluster, timeout: float) -> ParameterServers:
    """Finds the other processes of a job, and makes the chief their coordinator; the others never return.

    Args:
        cluster: the job.
        timeout: seconds to wait for the others, 0 for no limit.

    Raises:
        ClusterError: where somebody is missing.
        SystemExit: in a process that is not the chief, when the chief has gone.
    """
    if _joined:
        return _joined[0]
    rendezvous.wait_for_peers(cluster, timeout)
    _forever.enter_context(cluster.without_proxies())
    if not cluster.is_chief:
        serving.serve(cluster, timeout)
    serving.prepare()
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        serving.cluster_spec(cluster), task_type="chief", task_id=0, rpc_layer="grpc"
    )
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    # The coordinator talks at the end of the process too: a run takes its own filter away.
    tf.get_logger().addFilter(lambda record: logs.is_of_interest(record))  # noqa: PLW0108  (another object)
    _joined.append(ParameterServers(cluster, coordinator))
    return _joined[0]


_forever = contextlib.ExitStack()


@frozen(eq=False)
class ParameterServers:
    """A model whose variables are on parameter servers; the graph is the same on every worker.

    Attributes:
        cluster: the job.
        coordinator: TensorFlow's part of the chief.
        devices: as of a model on one device.
        peers: nobody: no other process is in this run.
    """

    cluster: Cluster
    coordinator: Any
    devices: tuple[str | None, ...] = (None,)
    peers: Peers = field(factory=Alone)
    notes_positions: ClassVar[bool] = False

    def call(self, function: Callable[[int], T]) -> list[T]:
        """Calls a function once."""
        return [function(0)]

    def mean(self, updates: Sequence[Pairs]) -> list[Pairs]:
        """Returns the gradients as they are: each worker applies its own."""
        return list(updates)

    def place(self, name: str, known: Mapping[str, tf.Variable]) -> contextlib.AbstractContextManager[None]:
        """Puts a slot where its variable is, and other variables on the server that holds the least."""
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

    @contextlib.contextmanager
    def faults_named(self) -> Iterator[None]:
        """Names a parameter server that has gone, in place of what TensorFlow says.

        Raises:
            ClusterError: where one has.
        """
        try:
            yield
        except MoxError:
            raise
        except Exception as error:
            gone = rendezvous.unreachable(each for each in self.cluster.processes if each.job == "ps")
            if not gone:
                raise
            raise ClusterError(
                f"{' and '.join(map(str, gone))} {'has' if len(gone) == 1 else 'have'} gone, and the variables there "
                "are lost: this run cannot go on. Start all processes of the job again: it goes on from its last "
                "checkpoint."
            ) from error

    def gone_workers(self) -> list[Process]:
        """Returns the other workers at whose addresses nobody listens."""
        return rendezvous.unreachable(each for each in self.cluster.processes if each.job == "worker" and each.index)

    def asked_to_end(self, gone: Sequence[Process]) -> str:
        """Returns the name of a signal that another process was sent, '' for none; who has gone is not asked."""
        for process in self.cluster.processes:
            if process == self.cluster.chief or process in gone:
                continue
            job, task = ("ps", process.index) if process.job == "ps" else ("worker", process.index - 1)
            with contextlib.suppress(tf.errors.OpError), tf.device(f"/job:{job}/replica:0/task:{task}/device:CPU:0"):
                (told,) = tf.raw_ops.PyFunc(input=[], token=serving.ASKED_TO_END, Tout=[tf.string])
                if name := told.numpy().decode():
                    return str(name)
        return ""

    def prepare(self, optimizer: Any) -> None:
        """Lets the counter of a Keras optimizer count the steps of all workers.

        Raises:
            UsageError: where the optimizer exchanges weights among workers by itself.
        """
        while optimizer is not None:
            if getattr(optimizer, "averages_workers", False):
                raise UsageError(
                    f"{type(optimizer).__name__} exchanges weights among workers that each have their own, and with "
                    "--ps_hosts all workers share one set: leave the wrapper out, or leave --ps_hosts out."
                )
            counter: Any = getattr(optimizer, "_iterations", None)
            if isinstance(getattr(counter, "value", None), tf.Variable):
                # Keras assigns what it has read plus one: what others have added meanwhile would be lost.
                counter.assign_add = counter.value.assign_add
            optimizer = getattr(optimizer, "optimizer", None)

    def order(self, seed: int) -> Order:
        """Returns the chief's share of the samples."""
        return Order(seed=seed, workers=self.cluster.num_workers)

    def begin(self, state: RunState, resumed: Checkpoint | None) -> None:
        """Makes the positions of the workers: of a run that goes on with as many as before, those that they had."""
        positions = state.positions.read_value()
        before = resumed.values.get(PROGRESS) if resumed else None
        value = tf.tile(positions[tf.newaxis], [self.cluster.num_workers, 1])
        if before is not None and before.shape == tuple(value.shape):
            value = tf.constant(before)
        with self.place(PROGRESS, {}):
            state.progress = tf.Variable(value, trainable=False, name=PROGRESS)

    def workers(
        self, graph: ModelGraph, pipeline: InputPipeline, order: Order, state: RunState, limit: int | None
    ) -> RemoteWorkers:
        """Returns the other workers.

        Raises:
            UsageError: for what they cannot run.
        """
        far_input.check(pipeline, graph)
        return RemoteWorkers(
            servers=self,
            graph=graph,
            pipeline=pipeline,
            order=order,
            ledger=Ledger(limit),
            progress=state.progress,
            global_step=state.step,
        )
