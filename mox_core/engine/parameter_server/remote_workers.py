"""Steps on other workers: the graph of the chief, on input that each of them reads for itself."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.input.order import Order
from mox_core.engine.input.sample_source import SampleSource
from mox_core.engine.model.compiled_loop import CompiledLoop
from mox_core.engine.model.step_runner import StepRunner
from mox_core.engine.parameter_server.remote_input import RemoteReport
from mox_core.engine.tf_internals.error_messages import lost_worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_core.cluster.cluster import Process
    from mox_core.engine.input.pipeline import InputPipeline, OpenInput
    from mox_core.engine.loop.signals import ReceivedSignal
    from mox_core.engine.model.model_graph import ModelGraph
    from mox_core.engine.parameter_server.replicator import ParameterServers
    from mox_core.engine.parameter_server.step_ledger import StepLedger
    from mox_core.engine.tensors import Dataset

    T = TypeVar("T")

SECONDS_PER_CALL: Final = 0.5
_WATCH_SECONDS: Final = 1.0
_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.1


@define(eq=False, kw_only=True)
class RemoteWorkers:
    """The other workers of a job, each of which runs one call of some steps after another.

    Attributes:
        servers: the job.
        graph: the model in TRAIN.
        pipeline: the input, as the chief has it.
        order: the chief's share of it.
        ledger: the account of steps.
        worker_positions: the positions of each worker, int64 [workers, sources], on a parameter server.
        global_step: counts the steps of all workers.
        gone: those that cannot be reached at the moment.
        signal: notes a signal that another process was sent, as if it had come to this one.
    """

    servers: ParameterServers
    graph: ModelGraph
    pipeline: InputPipeline
    order: Order
    ledger: StepLedger
    worker_positions: Any
    global_step: Any
    signal: ReceivedSignal
    gone: list[Process] = field(factory=list, init=False)
    _begun: tf.Variable = field(init=False)
    _numbers: list[int] = field(init=False)
    _returning: dict[int, Process] = field(factory=dict, init=False)
    _over: threading.Event = field(factory=threading.Event, init=False)

    def start(self) -> None:
        """Make the workers open their input, and begin."""
        count = self.order.workers - 1
        self._numbers = [0] * count
        with self.servers.device_scope("mox/begun", {}):
            # The number of the last call that each thread below has begun. TensorFlow runs a call again whose worker
            # has died, and nobody knows how many of its steps have been done: it must not do them twice.
            self._begun = tf.Variable(tf.zeros([count], tf.int64), trainable=False)
        opened = tf.autograph.experimental.do_not_convert(self._input)
        data = self.servers.coordinator.create_per_worker_dataset(opened)
        iterator, steps = iter(data), tf.function(self._steps, autograph=False)
        for thread in range(count):
            self._run(self._feed, thread, steps, iterator)
        self._run(self._watch)

    def chief_steps(self, opened: OpenInput) -> StepRunner:
        """Return what runs the chief's own steps, whose positions are kept beside those of the other workers."""
        loop = self._loop(self.graph.step(), self.graph.results["outputs"])
        return StepRunner(self.graph, opened, loop=loop, positions=_ChiefPositions(self.worker_positions))

    def log_return(self, worker: int) -> None:
        """Log that a worker that had gone takes part again."""
        if process := self._returning.pop(worker, None):
            tf.get_logger().info("%s is back, and takes part again.", process)

    def give_up(self) -> None:
        """Count the calls that nobody is left for as lost; they do nothing when a worker comes back for them."""
        self._begun.assign(self._numbers)
        self.ledger.give_up()

    def forget_errors(self) -> None:
        """Take the error of a call back from TensorFlow, which raises it at the next call; nothing may be under way."""
        with contextlib.suppress(Exception):
            self.servers.coordinator.join()

    def all_gone(self) -> bool:
        """Whether no other worker can be reached."""
        return len(self.gone) == self.order.workers - 1

    def close(self) -> None:
        """Stop watching."""
        self._over.set()

    def order_of(self, worker: Any) -> Order:
        """Return the share of the samples that a worker reads."""
        return Order(seed=self.order.seed, workers=self.order.workers, worker=worker)

    @staticmethod
    def _run(function: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=function, args=arguments, name=f"mox{function.__name__}", daemon=True).start()

    def _loop(self, step: Callable[..., dict[str, Any]], outputs: dict[str, Any]) -> CompiledLoop:
        sources, width = self.pipeline.sources, self.order.workers * self.pipeline.samples_in_element
        leaves_gaps = any(isinstance(source, SampleSource) for source in sources)
        widths = [width * (getattr(source, "batch_size", None) or 1) for source in sources] if leaves_gaps else []
        return CompiledLoop(
            graph=self.graph,
            endless=self.pipeline.endless,
            stride=self.pipeline.stride,
            step=step,
            outputs=outputs,
            gap_widths=widths,
        )

    def _input(self) -> Dataset:
        """Open the input of the worker that runs this, also when one has been started again."""
        worker = _current_worker()
        start = tf.unstack(self.worker_positions.read_value()[worker])
        return self.pipeline.open_share(tuple(start), self.order_of(worker), RemoteReport())

    def _steps(self, iterator: Any, thread: tf.Tensor, number: tf.Tensor, count: tf.Tensor) -> dict[str, tf.Tensor]:
        """Run up to `count` steps, unless the call has been begun before."""
        worker = _current_worker()
        fresh = self._begun.read_value()[thread] < number
        with tf.control_dependencies([fresh]):
            self._begun.scatter_update(tf.IndexedSlices(number, thread))
        before = self.worker_positions.read_value()[worker]
        count = tf.where(fresh, count, tf.zeros_like(count))
        result = self._loop(_step_without_summaries(self.graph), {}).build(iterator, before, count)
        self.worker_positions.scatter_update(tf.IndexedSlices(result["positions"], worker))
        return result | {"worker": worker, "fresh": fresh}

    def _feed(self, thread: int, steps: Any, iterator: Any) -> None:
        """Have one call after another run, each by a worker that has nothing to do."""
        wanted = 1
        while assignment := self.ledger.take(wanted):
            self._numbers[thread] += 1
            began = time.perf_counter()
            try:
                numbers = [tf.constant(each, tf.int64) for each in (thread, self._numbers[thread], assignment.steps)]
                result = self.servers.coordinator.schedule(steps, args=(iterator, *numbers)).fetch()
            except Exception as error:  # noqa: BLE001  (the chief's own thread raises it)
                if lost_worker(error):  # it died between its last step and the way back
                    self.ledger.account(assignment, {"fresh": False})
                    continue
                self.ledger.fail(assignment, error)
                return
            done, seconds = int(result["done"]), time.perf_counter() - began
            if done and self._numbers[thread] > 1:  # the first call also compiles
                wanted = max(1, int(SECONDS_PER_CALL * done / seconds))
            if not result["more"]:
                self._over.wait(_WATCH_SECONDS)  # it came to a worker that has no input any more: leave that alone
            self.ledger.account(assignment, result)

    def _watch(self) -> None:
        """Look again and again at which workers have gone, and whether another process was sent a signal."""
        while not self._over.is_set():
            gone = self.servers.gone_workers()
            for process in gone:
                if process not in self.gone:
                    tf.get_logger().warning(
                        "%s has gone: training goes on without it. It joins in again when it is started again.", process
                    )
            self._returning |= {process.index: process for process in self.gone if process not in gone}
            self.gone = gone
            self.signal.name = self.signal.name or self.servers.signal_elsewhere(gone) or None
            self._over.wait(_WATCH_SECONDS)


@frozen
class _ChiefPositions:
    """The positions of the chief, which are the first row of those of all workers."""

    worker_positions: Any

    def before(self, source: OpenInput) -> tf.Tensor:
        del source
        return self.worker_positions[0]

    def note(self, positions: tf.Tensor) -> None:
        self.worker_positions.scatter_update(tf.IndexedSlices(positions, tf.constant(0, tf.int64)))


def retry_after_worker_loss(function: Callable[[], T]) -> T:
    """Call a function again where an operation of the chief reports the loss of a worker, and not a loss of its own.

    TensorFlow reports a lost worker at the next operation, also at one that does not involve the worker.
    """
    for _ in range(_TRIES):
        try:
            return function()
        except tf.errors.OpError as error:
            if not lost_worker(error):
                raise
            time.sleep(_PAUSE_SECONDS)
    return function()


def _current_worker() -> tf.Tensor:
    """Return the number of the worker that runs the traced function; TensorFlow does not count the chief."""
    return tf.distribute.coordinator.experimental_get_current_worker_index() + 1


def _step_without_summaries(graph: ModelGraph) -> Callable[..., dict[str, Any]]:
    """Return the graph as a function that other workers can run: the writer of summaries is on the chief."""
    traced: Callable[..., dict[str, Any]] = graph.traced
    if graph.has_summaries or graph.set_aside:
        record = graph.inputs[1]
        effects = [op for op in graph.effects if not any(tensor is record for tensor in op.inputs)]
        results = {name: graph.results[name] for name in ("numbers", "samples")}
        pruned = graph.traced.prune(list(graph.inputs), [*results.values(), *effects])
        traced = lambda *inputs: dict(zip(results, pruned(*inputs), strict=False))  # noqa: E731  (the same signature)
    return lambda *inputs, deferred: traced(*inputs, *deferred)  # of which there are none
