"""Steps on other workers: the graph of the chief, on input that each of them reads for itself."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import tensorflow as tf
from attrs import define, field

from mox_core.engine import far_input
from mox_core.engine.sources import Order, SampleSource
from mox_core.engine.typed import blank

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_core.cluster import Process
    from mox_core.engine.inputs import InputPipeline
    from mox_core.engine.ledger import Ledger
    from mox_core.engine.modelgraph import ModelGraph
    from mox_core.engine.parameter_servers import ParameterServers
    from mox_core.engine.typed import Dataset

    T = TypeVar("T")

SECONDS_A_CALL: Final = 0.5
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
        progress: the positions of each worker, int64 [workers, positions], on a parameter server.
        global_step: counts the steps of all workers.
        gone: those that cannot be reached at the moment.
        asked_to_end: the name of a signal that one of them was sent, or a parameter server; '' for none.
    """

    servers: ParameterServers
    graph: ModelGraph
    pipeline: InputPipeline
    order: Order
    ledger: Ledger
    progress: Any
    global_step: Any
    gone: list[Process] = field(factory=list, init=False)
    asked_to_end: str = field(default="", init=False)
    _begun: tf.Variable = field(init=False)
    _numbers: list[int] = field(init=False)
    _returning: dict[int, Process] = field(factory=dict, init=False)
    _over: threading.Event = field(factory=threading.Event, init=False)

    def start(self) -> None:
        """Lets the workers open their input, and begin."""
        count = self.order.workers - 1
        self._numbers = [0] * count
        with self.servers.place("mox/begun", {}):
            # The number of the last call that each thread below has begun. TensorFlow runs a call again whose worker
            # has died, and nobody knows how many of its steps have been done: it must not do them twice.
            self._begun = tf.Variable(tf.zeros([count], tf.int64), trainable=False)
        data = self.servers.coordinator.create_per_worker_dataset(self._input)
        iterator, steps = iter(data), tf.function(self._steps, autograph=False)
        for slot in range(count):
            self._run(self._feed, slot, steps, iterator)
        self._run(self._watch)

    def welcome(self, worker: int) -> None:
        """Says that a worker that had gone takes part again."""
        if process := self._returning.pop(worker, None):
            tf.get_logger().info("%s is back, and takes part again.", process)

    def note_position(self, positions: tf.Tensor) -> None:
        """Takes note of where the chief's own input stands."""
        self.progress.scatter_update(tf.IndexedSlices(positions, tf.constant(0, tf.int64)))

    def give_up(self) -> None:
        """Counts the calls that nobody is left for as lost; they do nothing when a worker comes back for them."""
        self._begun.assign(self._numbers)
        self.ledger.give_up()

    def all_gone(self) -> bool:
        """Whether no other worker can be reached."""
        return len(self.gone) == self.order.workers - 1

    def close(self) -> None:
        """Stops watching."""
        self._over.set()

    def share(self, worker: Any) -> Order:
        """Returns what a worker reads."""
        return Order(seed=self.order.seed, workers=self.order.workers, worker=worker)

    @staticmethod
    def _run(function: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=function, args=arguments, name=f"mox{function.__name__}", daemon=True).start()

    def _input(self) -> Dataset:
        """Opens the input of the worker that runs this, also when one has been started again."""
        worker = _current_worker()
        start = tf.unstack(self.progress.read_value()[worker])
        return self.pipeline.open_share(tuple(start), self.share(worker), far_input.FarReport())

    def _steps(self, iterator: Any, slot: tf.Tensor, number: tf.Tensor, count: tf.Tensor) -> dict[str, tf.Tensor]:
        """Runs up to `count` steps, unless the call has been begun before."""
        worker = _current_worker()
        fresh = self._begun.read_value()[slot] < number
        with tf.control_dependencies([fresh]):
            self._begun.scatter_update(tf.IndexedSlices(number, slot))
        result = run_steps(
            self,
            step_function(self.graph),
            iterator,
            self.progress.read_value()[worker],
            tf.where(fresh, count, tf.zeros_like(count)),
        )
        self.progress.scatter_update(tf.IndexedSlices(result["positions"], worker))
        return result | {"worker": worker, "fresh": fresh}

    def _feed(self, slot: int, steps: Any, iterator: Any) -> None:
        """Has one call after another run, each by a worker that has nothing to do."""
        wanted = 1
        while call := self.ledger.take(wanted):
            self._numbers[slot] += 1
            began = time.perf_counter()
            try:
                numbers = [tf.constant(each, tf.int64) for each in (slot, self._numbers[slot], call.steps)]
                result = self.servers.coordinator.schedule(steps, args=(iterator, *numbers)).fetch()
            except Exception as error:  # noqa: BLE001  (the chief's own thread raises it)
                if is_of_lost_worker(error):  # it died between its last step and the way back
                    self.ledger.account(call, {"fresh": False})
                    continue
                self.ledger.fail(call, error)
                return
            done, seconds = int(result["done"]), time.perf_counter() - began
            if done and self._numbers[slot] > 1:  # the first call also compiles
                wanted = max(1, int(SECONDS_A_CALL * done / seconds))
            if not result["more"]:
                self._over.wait(_WATCH_SECONDS)  # it came to a worker that has no input any more: leave that alone
            self.ledger.account(call, result)

    def _watch(self) -> None:
        """Looks again and again at who has gone, and whether somebody was asked to end."""
        while not self._over.is_set():
            gone = self.servers.gone_workers()
            for process in gone:
                if process not in self.gone:
                    tf.get_logger().warning(
                        "%s has gone: training goes on without it. It joins in again when it is started again.", process
                    )
            self._returning |= {process.index: process for process in self.gone if process not in gone}
            self.gone = gone
            self.asked_to_end = self.asked_to_end or self.servers.asked_to_end(gone)
            self._over.wait(_WATCH_SECONDS)


def _current_worker() -> tf.Tensor:
    """The number of the worker that runs the function that is being traced: TensorFlow does not count the chief."""
    return tf.distribute.coordinator.experimental_get_current_worker_index() + 1


def is_of_lost_worker(error: Exception) -> bool:
    """Whether TensorFlow says that a worker cannot be reached, and not a parameter server."""
    lost = isinstance(error, (tf.errors.UnavailableError, tf.errors.AbortedError))
    return lost and "/job:worker/" in str(error) and "remote target /job:ps/" not in str(error)


def surviving(function: Callable[[], T]) -> T:
    """Calls a function again where an operation of the chief has met with the loss of a worker, not with its own.

    TensorFlow tells an operation that has nothing to do with a lost worker of it, when it comes next.
    """
    for _ in range(_TRIES):
        try:
            return function()
        except tf.errors.OpError as error:
            if not is_of_lost_worker(error):
                raise
            time.sleep(_PAUSE_SECONDS)
    return function()


def step_function(graph: ModelGraph) -> Callable[..., dict[str, Any]]:
    """Returns the graph as a function that other workers can run: the writer of summaries is on the chief."""
    if not graph.has_summaries:
        return cast("Callable[..., dict[str, Any]]", graph.traced)
    record = graph.inputs[1]
    effects = [op for op in graph.effects if not any(tensor is record for tensor in op.inputs)]
    results = {name: graph.graph.structured_outputs[name] for name in ("numbers", "samples")}
    pruned = graph.traced.prune(list(graph.inputs), [*results.values(), *effects])
    return lambda *inputs: dict(zip(results, pruned(*inputs), strict=False))


def run_steps(
    workers: RemoteWorkers, step: Callable[..., Any], iterator: Any, before: tf.Tensor, count: tf.Tensor
) -> dict[str, Any]:
    """Adds a loop of steps to the graph that is being traced.

    Args:
        workers: what the steps are of.
        step: the graph of the model as a function.
        iterator: gives the input.
        before: the positions before its next element.
        count: how many steps at most.

    Returns:
        done: how many steps ran; fewer at the end of the input, or where a loss is not finite.
        numbers: those of the last step.
        samples: how many samples the steps saw.
        positions: those behind the last element.
        gaps: pairs of positions between which samples are missing.
        more: whether the input goes on.
    """
    graph, pipeline = workers.graph, workers.pipeline
    losses = len(graph.losses)
    gap_shape = [2, pipeline.num_positions]

    def proceed(state: dict[str, Any]) -> tf.Tensor:
        finite = tf.reduce_all(tf.math.is_finite(state["numbers"][:losses]))
        return (state["done"] < count) & state["more"] & finite

    def one(state: dict[str, Any], element: Any) -> dict[str, Any]:
        positions, inputs = element
        if pipeline.stride is not None:
            positions, inputs = state["positions"] + pipeline.stride, element
        result = step(positions, tf.constant(False), *inputs)
        return {
            "done": state["done"] + 1,
            "numbers": result["numbers"],
            "samples": state["samples"] + result["samples"],
            "positions": positions,
            "gaps": _with_gap(workers, state["gaps"], state["positions"], positions),
            "more": state["more"],
        }

    def body(state: dict[str, Any]) -> list[dict[str, Any]]:
        if pipeline.endless:
            return [one(state, next(iterator))]
        element = iterator.get_next_as_optional()
        ended = {**state, "more": tf.constant(False)}
        return [tf.cond(element.has_value(), lambda: one(state, element.get_value()), lambda: ended)]

    start = {
        "done": tf.constant(0, tf.int64),
        "numbers": blank(graph.traced.structured_outputs["numbers"]),
        "samples": tf.constant(0, tf.int64),
        "positions": before,
        "gaps": tf.zeros([0, *gap_shape], tf.int64),
        "more": tf.constant(True),
    }
    shapes = {name: tensor.shape for name, tensor in start.items()} | {"gaps": tf.TensorShape([None, *gap_shape])}
    return cast("dict[str, Any]", tf.while_loop(proceed, body, [start], shape_invariants=[shapes])[0])


def _with_gap(workers: RemoteWorkers, gaps: tf.Tensor, before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Adds the positions before and after an element, if they are too far from each other."""
    sources = workers.pipeline.sources
    if not any(isinstance(source, SampleSource) for source in sources):
        return gaps
    samples = workers.order.workers * workers.pipeline.samples_in_element
    widths = tf.constant([samples * (getattr(source, "batch_size", None) or 1) for source in sources], tf.int64)
    missing = tf.reduce_any(after - before > widths)
    pair = tf.stack([before, after])[tf.newaxis]
    return tf.cond(missing, lambda: tf.concat([gaps, pair], 0), lambda: gaps)
