"""The workers of a job that step together, or meet now and then: what one process tells the others, and is told.

TensorFlow's `MultiWorkerMirroredStrategy` connects them. Each has the model for itself, on its own devices; what they
share goes through sums over all workers. Every worker has to ask for the same sums in the same order.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tensorflow as tf
from attrs import field, frozen

from mox_core import guard, rendezvous
from mox_core.engine.typed import map_values
from mox_core.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mox_core.cluster import Cluster

_SECONDS_TO_FIND_OUT = 20.0
"""So long is looked for the process that has gone, before an error names none."""

_BYTES_IN_A_PACK = 4 << 20
"""Gradients are added up in parts of about this size: blocks above 32 MB are allocated anew in each step."""

_BYTES_IN_ONE_GO = 16 << 20
"""So much of the values of small variables goes to all workers at a time."""

_SECONDS_TO_CONNECT = 60.0
"""So long may a process be unreachable after all have met, while TensorFlow starts in it."""

_OF_LOST_PEERS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)
"""What a collective raises when a process has gone; which of them is a matter of the moment."""


class Peers(Protocol):
    """All workers of a run, this one included."""

    @property
    def number(self) -> int:
        """How many there are."""

    @property
    def index(self) -> int:
        """Which of them this one is; 0 is the chief, which alone writes files."""

    @property
    def together(self) -> bool:
        """Whether they do each step together."""

    def sum(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the sums over all workers of each tensor, of a graph."""

    def gather(self, row: Sequence[float]) -> np.ndarray[Any, Any]:
        """Returns the numbers of all workers, float64, a row for each."""

    def tell(self, value: Any) -> list[Any]:
        """Returns the values of all workers, of what JSON can hold."""

    def from_chief(self, value: Any) -> Any:
        """Returns the chief's value, of what JSON can hold."""

    def assign_chiefs(self, variables: Sequence[tf.Variable]) -> None:
        """Gives variables the values that they have on the chief."""


class Alone:
    """One process."""

    number = 1
    index = 0
    together = True

    def sum(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the tensors."""
        return list(tensors)

    def gather(self, row: Sequence[float]) -> np.ndarray[Any, Any]:
        """Returns the row."""
        return np.array([row], np.float64)

    def tell(self, value: Any) -> list[Any]:
        """Returns the value."""
        return [value]

    def from_chief(self, value: Any) -> Any:
        """Returns the value."""
        return value

    def assign_chiefs(self, variables: Sequence[tf.Variable]) -> None:
        """Has nothing to change."""


@frozen(kw_only=True)
class Workers:
    """Several processes, with a collective of TensorFlow for each sum.

    Attributes:
        number: how many there are.
        index: which of them this one is.
        together: whether they do each step together.
    """

    number: int
    index: int
    together: bool
    _strategy: Any = field(alias="strategy")
    _totals: dict[Any, Any] = field(factory=dict, init=False)

    def sum(self, tensors: Sequence[Any]) -> list[Any]:
        """Returns the sums over all workers of tensors of a graph, dense or sparse; those of one type in one go."""
        kinds: dict[Any, list[int]] = {}
        for number, tensor in enumerate(tensors):
            kinds.setdefault((type(tensor) is tf.IndexedSlices, tensor.dtype), []).append(number)
        sums: dict[int, Any] = {}
        with self._strategy.scope():
            for numbers in kinds.values():
                values = [self._distributed(tensors[number]) for number in numbers]
                pairs = [(value, value) for value in values]
                reduced = self._strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)
                sums |= {number: self._local(each) for number, each in zip(numbers, reduced, strict=True)}
        return [sums[number] for number in range(len(tensors))]

    def gather(self, row: Sequence[float]) -> np.ndarray[Any, Any]:
        """Returns the numbers of all workers, float64, a row for each."""
        rows = np.zeros([self.number, len(row)], np.float64)
        rows[self.index] = row
        return self._total(rows)

    def tell(self, value: Any) -> list[Any]:
        """Returns the values of all workers, of what JSON can hold."""
        text = json.dumps(value).encode()
        lengths = self.gather([len(text)])[:, 0].astype(int)
        texts = np.zeros([self.number, lengths.max()], np.int32)
        texts[self.index, : len(text)] = np.frombuffer(text, np.uint8)
        told = self._total(texts).astype(np.uint8)
        return [json.loads(row[:length].tobytes()) for row, length in zip(told, lengths, strict=True)]

    def from_chief(self, value: Any) -> Any:
        """Returns the chief's value, of what JSON can hold."""
        text = json.dumps(value).encode() if self.index == 0 else b""
        (length,) = self._total(np.array([len(text)], np.int32)).tolist()
        return json.loads(self._bytes_of_chief(text, length))

    def assign_chiefs(self, variables: Sequence[tf.Variable]) -> None:
        """Gives variables the values that they have on the chief, many small ones in one sum."""
        group: list[tuple[tf.Variable, np.ndarray[Any, Any]]] = []
        for variable in variables:
            group.append((variable, np.asarray(variable.read_value())))
            if sum(value.nbytes for _, value in group) >= _BYTES_IN_ONE_GO:
                self._assign_group(group)
                group.clear()
        self._assign_group(group)

    def _assign_group(self, group: Sequence[tuple[tf.Variable, np.ndarray[Any, Any]]]) -> None:
        data = b"".join(value.tobytes() for _, value in group) if self.index == 0 else b""
        data, start = self._bytes_of_chief(data, sum(value.nbytes for _, value in group)), 0
        for variable, value in group:
            if self.index:
                variable.assign(np.frombuffer(data, value.dtype, value.size, start).reshape(value.shape))
            start += value.nbytes

    def _bytes_of_chief(self, data: bytes, length: int) -> bytes:
        numbers = np.zeros(-(-length // 4), np.int32)
        numbers.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        return bytes(self._total(numbers).tobytes()[:length])

    def _total(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if not array.size:
            return array
        spec = (array.shape, array.dtype)
        if spec not in self._totals:  # a graph takes a third of the time of eager operations
            total = tf.function(lambda value: self.sum([value])[0], autograph=False)
            self._totals[spec] = total.get_concrete_function(tf.TensorSpec(*spec))
        return np.asarray(self._totals[spec](tf.constant(array)))

    def _distributed(self, value: Any) -> Any:
        return self._strategy.experimental_distribute_values_from_function(lambda _context: value)

    def _local(self, value: Any) -> Any:
        (own,) = self._strategy.experimental_local_results(value)
        return own


@contextlib.contextmanager
def met(cluster: Cluster | None, timeout: float) -> Iterator[Peers]:
    """Connects the workers of a job, and names who has gone where one of them is lost in the block.

    Raises:
        ClusterError: where a process is missing, or is lost.
    """
    if cluster is None or not cluster.several or cluster.serving:
        yield Alone()
        return
    with cluster.without_proxies():
        rendezvous.wait_for_peers(cluster, timeout)
        with _naming_the_lost(cluster):
            yield Workers(
                number=cluster.num_workers,
                index=cluster.index,
                together=cluster.synchronous,
                strategy=_strategy(cluster),
            )


_connected: dict[Cluster, Any] = {}
"""The strategy of this process: TensorFlow connects once."""


def _strategy(cluster: Cluster) -> Any:
    if cluster not in _connected:
        if _connected:
            raise UsageError(
                "this process has trained with other hosts before, and TensorFlow connects only once: start a new one."
            )
        spec = tf.train.ClusterSpec({"worker": list(cluster.workers)})
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            spec, task_type="worker", task_id=cluster.index, rpc_layer="grpc", num_accelerators={"GPU": _gpus()}
        )
        try:
            options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=_BYTES_IN_A_PACK)
            with guard.ended_if_one_goes(cluster, _SECONDS_TO_CONNECT):
                _connected[cluster] = tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
        except RuntimeError as error:
            if "must be configured at program startup" not in str(error):
                raise
            raise UsageError(
                "TensorFlow has begun to compute before mox.run, and then it connects to no other process any more: "
                "call mox.run before anything else of TensorFlow, and make Keras models inside model_fn."
            ) from error
    return _connected[cluster]


def _gpus() -> int:
    """Sums over workers go through the first GPU where there is one: gradients are there."""
    return min(1, len(tf.config.list_physical_devices("GPU")))


@contextlib.contextmanager
def _naming_the_lost(cluster: Cluster) -> Iterator[None]:
    """Turns the error of a collective whose other end has gone into one that names it."""
    try:
        yield
    except _OF_LOST_PEERS as error:
        lost = _lost(cluster)
        if not lost:
            raise
        names = " and ".join(map(str, lost))
        raise ClusterError(
            f"{names} {'has' if len(lost) == 1 else 'have'} gone, and {cluster.me} cannot go on alone: see what "
            f"{'it has' if len(lost) == 1 else 'they have'} said. Start all processes of the job again: it goes on "
            "from its last checkpoint."
        ) from error


def _lost(cluster: Cluster) -> Sequence[Any]:
    workers = [each for each in cluster.peers if each.job == "worker"]
    end = time.monotonic() + _SECONDS_TO_FIND_OUT
    while time.monotonic() < end:
        # One that is about to end may listen a moment longer than it computes.
        if lost := rendezvous.unreachable(workers):
            return lost
        time.sleep(0.1)
    return []


def mean_of_all(peers: Peers, tensors: Sequence[Any]) -> list[Any]:
    """Returns the means over all workers of tensors of a graph."""
    return [map_values(lambda total: total / tf.cast(peers.number, total.dtype), total) for total in peers.sum(tensors)]
