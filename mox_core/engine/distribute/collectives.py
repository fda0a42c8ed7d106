"""Collectives between workers: all-reduce, all-gather, broadcast.

Every worker calls the same collectives in the same order. TensorFlow's `MultiWorkerMirroredStrategy` runs them; each
worker has the whole model for itself, on its own devices.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

import numpy as np
import tensorflow as tf
from attrs import field, frozen

from mox_core.engine.distribute.packs import in_packs
from mox_core.engine.tensors import map_values
from mox_core.errors import NanLossError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array: TypeAlias = "np.ndarray[Any, Any]"
T = TypeVar("T")

_BYTES_IN_A_PACK: Final = 4 << 20
"""Gradients are summed in packs of about this size: blocks above 32 MB are allocated anew in each step."""

_BYTES_PASSED_ON: Final = 1 << 20
"""A ring passes 1/W of a pack on 2 (W - 1) times: so large a part that its bytes count more than its latency."""

_BYTES_PER_BROADCAST: Final = 16 << 20
"""Values of small variables are broadcast together, in parts of about this size."""


class Collective(Protocol):
    """The workers of a run, this one included, and the collectives between them."""

    @property
    def world_size(self) -> int:
        """How many workers there are."""

    @property
    def rank(self) -> int:
        """Which of them this one is; rank 0 is the chief, the only one that writes files."""

    @property
    def synchronous(self) -> bool:
        """Whether all workers do each step together."""

    def all_reduce_sum(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return the sum over all workers of each tensor; for graphs."""

    def all_gather(self, row: Sequence[float]) -> Array:
        """Return the numbers of all workers, float64 [workers, numbers]."""

    def all_gather_object(self, value: Any) -> list[Any]:
        """Return the values of all workers; JSON has to hold them."""

    def broadcast_object(self, value: Any) -> Any:
        """Return the chief's value; JSON has to hold it."""

    def broadcast_variables(self, variables: Sequence[tf.Variable]) -> None:
        """Assign the chief's values to variables."""


class SingleProcess:
    """A run of one process."""

    world_size = 1
    rank = 0
    synchronous = True

    def all_reduce_sum(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return the tensors."""
        return list(tensors)

    def all_gather(self, row: Sequence[float]) -> Array:
        """Return the numbers as the only row."""
        return np.array([row], np.float64)

    def all_gather_object(self, value: Any) -> list[Any]:
        """Return the value as the only one."""
        return [value]

    def broadcast_object(self, value: Any) -> Any:
        """Return the value."""
        return value

    def broadcast_variables(self, variables: Sequence[tf.Variable]) -> None:
        """Do nothing: the values are the chief's."""


@frozen(kw_only=True)
class MultiWorker:
    """Several processes, connected by a strategy of `tf.distribute`.

    Attributes:
        world_size: how many workers there are.
        rank: which of them this one is.
        synchronous: whether all workers do each step together.
    """

    world_size: int
    rank: int
    synchronous: bool
    _strategy: Any = field(alias="strategy")
    _sums: dict[Any, Any] = field(factory=dict, init=False)

    def all_reduce_sum(self, tensors: Sequence[Any]) -> list[Any]:
        """Return the sum over all workers of each tensor, dense or sparse: in packs, while others are computed."""
        sums: dict[int, Any] = {}
        with self._strategy.scope():
            for numbers in in_packs(tensors, max(_BYTES_IN_A_PACK, self.world_size * _BYTES_PASSED_ON)):
                values = [self._distributed(tensors[number]) for number in numbers]
                pairs = [(value, value) for value in values]
                reduced = self._strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)
                sums |= {number: self._local(each) for number, each in zip(numbers, reduced, strict=True)}
        return [sums[number] for number in range(len(tensors))]

    def all_gather(self, row: Sequence[float]) -> Array:
        """Return the numbers of all workers, float64 [workers, numbers]."""
        rows = np.zeros([self.world_size, len(row)], np.float64)
        rows[self.rank] = row
        return self._sum(rows)

    def all_gather_object(self, value: Any) -> list[Any]:
        """Return the values of all workers; JSON has to hold them."""
        text = json.dumps(value).encode()
        lengths = self.all_gather([len(text)])[:, 0].astype(int)
        texts = np.zeros([self.world_size, lengths.max()], np.int32)
        texts[self.rank, : len(text)] = np.frombuffer(text, np.uint8)
        gathered = self._sum(texts).astype(np.uint8)
        return [json.loads(row[:length].tobytes()) for row, length in zip(gathered, lengths, strict=True)]

    def broadcast_object(self, value: Any) -> Any:
        """Return the chief's value; JSON has to hold it."""
        text = json.dumps(value).encode() if self.rank == 0 else b""
        (length,) = self._sum(np.array([len(text)], np.int32)).tolist()
        return json.loads(self._broadcast_bytes(text, length))

    def broadcast_variables(self, variables: Sequence[tf.Variable]) -> None:
        """Assign the chief's values to variables; small ones are broadcast together."""
        pack: list[tuple[tf.Variable, Array]] = []
        for variable in variables:
            pack.append((variable, np.asarray(variable.read_value())))
            if sum(value.nbytes for _, value in pack) >= _BYTES_PER_BROADCAST:
                self._broadcast_pack(pack)
                pack.clear()
        self._broadcast_pack(pack)

    def _broadcast_pack(self, pack: Sequence[tuple[tf.Variable, Array]]) -> None:
        data = b"".join(value.tobytes() for _, value in pack) if self.rank == 0 else b""
        data, start = self._broadcast_bytes(data, sum(value.nbytes for _, value in pack)), 0
        for variable, value in pack:
            if self.rank:
                variable.assign(np.frombuffer(data, value.dtype, value.size, start).reshape(value.shape))
            start += value.nbytes

    def _broadcast_bytes(self, data: bytes, length: int) -> bytes:
        numbers = np.zeros(-(-length // 4), np.int32)
        numbers.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        return bytes(self._sum(numbers).tobytes()[:length])

    def _sum(self, array: Array) -> Array:
        if not array.size:
            return array
        spec = (array.shape, array.dtype)
        if spec not in self._sums:  # a graph takes a third of the time of eager operations
            total = tf.function(lambda value: self.all_reduce_sum([value])[0], autograph=False)
            self._sums[spec] = total.get_concrete_function(tf.TensorSpec(*spec))
        return np.asarray(self._sums[spec](tf.constant(array)))

    def _distributed(self, value: Any) -> Any:
        return self._strategy.experimental_distribute_values_from_function(lambda _context: value)

    def _local(self, value: Any) -> Any:
        (own,) = self._strategy.experimental_local_results(value)
        return own


def all_reduce_mean(collective: Collective, tensors: Sequence[Any]) -> list[Any]:
    """Return the mean over all workers of each tensor; for graphs."""
    size = collective.world_size
    sums = collective.all_reduce_sum(tensors)
    return [map_values(lambda each: each / tf.cast(size, each.dtype), total) for total in sums]


def together(collective: Collective, function: Callable[[], T]) -> T:
    """Call a function on every worker, and return its result: all fail where one of them does.

    Raises:
        NanLossError: on all workers, if the function has raised one on any of them.
    """
    if collective.world_size == 1:
        return function()
    error = None
    try:
        result = function()
    except NanLossError as own:
        error = str(own)
    errors = [each for each in collective.all_gather_object(error) if each]
    if errors:
        raise NanLossError(error or errors[0])
    return result
