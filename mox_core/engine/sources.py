"""Samples by index: what a dataset plugin hands to the core.

The order of samples is a function of (seed, epoch, offset): position p of a source with n samples is offset p % n of
epoch p // n, and a shuffled epoch is a permutation that is computed, not stored. So a run goes on at any position at
once, every epoch is shuffled over the whole set, and nothing but the position has to be saved.

Workers share that order in turn: of W workers, the one with number w reads the positions start + w, start + w + W, and
so on. In between, all of them are said to be at the same position, start + n * W.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import field, frozen, validators

from mox_core.engine import randomness
from mox_core.engine.skipped import SkipReport
from mox_core.engine.typed import blank, dataset_op_types, features_of, no_autograph
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_core.engine.typed import Dataset

Features = dict[str, tf.Tensor]
Fetch = Callable[..., tuple[tf.Tensor, Features]]

# A source that never ends is read in blocks, so that a set without one readable sample is noticed instead of waited
# for.
_SMALLEST_BLOCK = 1024


@frozen(kw_only=True)
class Order:
    """The order of the samples of a run, and this worker's share of it.

    Attributes:
        seed: the seed of the run.
        workers: how many workers share the samples.
        worker: the number of this one.
    """

    seed: int
    workers: int = 1
    worker: int = 0

    def seed_at(self, after: tf.Tensor) -> tf.Tensor:
        """Returns from what random ops take their seed for the sample before a position: the same on any worker."""
        return after if self.workers == 1 else after + (1 + self.worker - self.workers)

    def first_from(self, position: Any, start: int) -> Any:
        """Returns the first position of this worker that reads a sample at or behind a position of the run."""
        rounds = -((start + self.worker - position) // self.workers)
        return start + tf.maximum(rounds, 0) * self.workers


@frozen(kw_only=True)
class SampleSource:
    """Samples that are read by their index, in an order that the core decides.

    Attributes:
        num_samples: how many there are; indices run from 0 to num_samples - 1.
        fetch: TensorFlow ops that read the sample of an index (int64 scalar) and give its features by name. They run in
            parallel. An op that fails marks the sample as bad.
        describe: the name of the sample with an index (a file name, say), for messages.
        on_bad_sample: 'skip' leaves a bad sample out, with a warning that names it; 'raise' ends the run with its name.
        why_bad: what may be wrong with a sample that cannot be read, for messages.
        shuffle: whether each epoch has an order of its own.
        num_epochs: how often the set is gone through; None for ever.
        transform: TensorFlow ops on the features of one good sample; an error in them ends the run.
        batch_size: how many samples one element holds; None for single samples.
        drop_remainder: whether a last batch of fewer samples is left out.
    """

    num_samples: int = field(validator=validators.ge(1))
    fetch: Callable[..., Features]
    describe: Callable[[int], str]
    on_bad_sample: str = field(default="skip", validator=validators.in_(("skip", "raise")))
    why_bad: str = "cut off, empty, or of no known format"
    shuffle: bool = False
    num_epochs: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    transform: Callable[[Features], Features] | None = None
    batch_size: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    drop_remainder: bool = False

    def read(self) -> Features:
        """Returns the features of one element as tensors, inside `input_fn`: in each call those of the same one.

        Raises:
            UsageError: outside `input_fn`.
        """
        trace = current_trace()
        return trace.once(self, lambda: trace.add_source(self))

    @property
    def end(self) -> int | None:
        """The position after the last one; None where there is no last one."""
        return None if self.num_epochs is None else self.num_epochs * self.num_samples

    def index_at(self, position: tf.Tensor, order: Order) -> tf.Tensor:
        """Returns the index of the sample that this worker reads at a position (int64 scalar)."""
        position += order.worker
        offset = tf.math.floormod(position, self.num_samples)
        if not self.shuffle:
            return offset
        epoch = tf.math.floordiv(position, self.num_samples)
        key = tf.stack([tf.constant(randomness.fold(order.seed, "order"), tf.int64), epoch])
        last = tf.constant(self.num_samples - 1, tf.int64)
        return tf.random.experimental.index_shuffle(offset, key, last)  # type: ignore[attr-defined]  # not in the stubs

    def sample_at(self, position: tf.Tensor, order: Order) -> Features:
        """Returns the features of the sample that this worker reads at a position (int64 scalar)."""
        return self.fetch(self.index_at(position, order))

    def name_at(self, position: int, order: Order) -> str:
        """Returns the name of the sample that this worker reads at a position, for messages."""
        with tf.init_scope():
            return self.describe(int(self.index_at(tf.constant(position, tf.int64), order)))

    def dataset(self, *, order: Order, start: int, needed: frozenset[str] | None, report: SkipReport) -> Dataset:
        """Returns (next position, features) from a position on; the next position is where a resumed run would start.

        Args:
            order: what this worker reads.
            start: the first position.
            needed: the names of the features that are used; None for all.
            report: is told of the samples that are left out.
        """
        elements = self.elements(order=order, start=start, needed=needed, report=report).map(_alone)
        return watched(elements, (self,), order=order, start=(start,), report=report).map(_not_alone)

    def elements(self, *, order: Order, start: int, needed: frozenset[str] | None, report: SkipReport) -> Dataset:
        """Returns what `dataset` does, for sources that are zipped: `watched` then looks for gaps in the positions.

        With a batch_size, it gives the next position of each sample of the batch.
        """
        keep = None if self.transform is not None else needed

        @no_autograph
        def fetch(position: tf.Tensor, *content: tf.Tensor) -> tuple[tf.Tensor, Features]:
            key, graph = f"{order.seed}/fetch", tf.compat.v1.get_default_graph()
            with randomness.seeded(key, position + order.worker, graph=graph):
                features = self.fetch(self.index_at(position, order), *content)
            kept = {name: value for name, value in features.items() if keep is None or name in keep}
            return position + order.workers, kept

        samples = self.good_samples(fetch, start, order, report)
        if self.transform is not None:
            samples = samples.map(_transformed(self.transform, order, needed), num_parallel_calls=tf.data.AUTOTUNE)
        if self.batch_size is None:
            return samples
        return samples.batch(self.batch_size, drop_remainder=self.drop_remainder or self.end is None)

    def samples(self, first: tf.Tensor, stop: tf.Tensor, fetch: Fetch, order: Order) -> Dataset:
        """Returns (next position, features) from a position on; a bad sample gives an error.

        A subclass may know a faster way than one by one. It gives the same as `fetch` does.

        Args:
            first: the first position.
            stop: the end of the positions, which may lie between two of this worker.
            fetch: gives the sample at a position (int64 scalar); what else it is given goes on to the source's `fetch`.
            order: what this worker reads.
        """
        return tf.data.Dataset.range(first, stop, order.workers).map(fetch, num_parallel_calls=parallel_reads())

    def good_samples(self, fetch: Fetch, start: int, order: Order, report: SkipReport) -> Dataset:
        """Reads on from a position and leaves out what cannot be read: (next position, features).

        A sample that fails leaves a gap in the positions, by which it is found later. Gaps at the end of the input
        would not be seen so, and a set of which nothing can be read would go round for ever: so the positions come in
        blocks, and the last one of each block is looked at.
        """
        length = -(-max(self.num_samples, _SMALLEST_BLOCK) // order.workers) * order.workers
        last = tf.int64.max if self.end is None else self.end - order.worker
        shift = start % order.workers

        @no_autograph
        def block(number: tf.Tensor) -> Dataset:
            begin = number * length + shift
            first, stop = tf.maximum(begin, start), tf.minimum(begin + length, last)
            samples = self.samples(first, stop, fetch, order)
            unused = tf.nest.map_structure(blank, samples.element_spec)

            @no_autograph
            def look(is_read: Any) -> Any:
                def tell() -> tf.Tensor:
                    return report.tell_tail(self, order, first, stop, samples)

                return tf.cond(is_read, lambda: False, tell)  # never True: it adds no element

            ending_at = stop - 1 - tf.math.floormod(stop - 1 - first, order.workers)
            read = tf.data.Dataset.from_tensors(ending_at).map(fetch).ignore_errors().map(_true)
            ending = read.concatenate(tf.data.Dataset.from_tensors(False)).take(1).filter(look)
            return samples.ignore_errors().concatenate(ending.map(no_autograph(lambda _: unused)))

        end = tf.int64.max if self.end is None else -(-self.end // length)
        blocks = tf.data.Dataset.range(start // length, end)
        return blocks.flat_map(block)


class InputTrace:
    """What `input_fn` reads while it is traced.

    Attributes:
        graph: the graph of the trace.
        sources: each source with the placeholders of its features.
    """

    def __init__(self, graph: tf.Graph) -> None:
        self.graph = graph
        self.sources: list[tuple[Any, Features]] = []
        self._read: list[tuple[object, Features]] = []

    def once(self, owner: object, read: Callable[[], Features]) -> Features:
        """Returns what a data set reads, which it may be asked for again and again: features of the same element."""
        for known, features in self._read:
            if known is owner:
                return features
        self._read.append((owner, read()))
        return self._read[-1][1]

    def add_source(self, source: SampleSource) -> Features:
        """Returns placeholders for the features of one element of the source."""
        with tf.init_scope():
            dataset = source.elements(order=Order(seed=0), start=0, needed=None, report=SkipReport())
        return self.add_placeholders(source, features_of(dataset))

    def add_placeholders(self, source: Any, specs: dict[str, tf.TensorSpec]) -> Features:
        """Returns placeholders for the features of an element whose specs are known."""
        features = {
            name: tf.compat.v1.placeholder(spec.dtype, spec.shape, name=f"source/{name}")
            for name, spec in specs.items()
        }
        self.sources.append((source, features))
        return features


@contextlib.contextmanager
def tracing(graph: tf.Graph) -> Iterator[InputTrace]:
    """Collects what the block reads in a graph."""
    trace = InputTrace(graph)
    token = _trace.set(trace)
    try:
        yield trace
    finally:
        _trace.reset(token)


def current_trace() -> InputTrace:
    """Returns the trace of the `input_fn` that is being called.

    Raises:
        UsageError: outside `input_fn`.
    """
    trace = _trace.get()
    if trace is None:
        msg = "a data set is read inside input_fn: call dataset.get([...]) in the function that you give to mox.run."
        raise UsageError(msg)
    return trace


def trace_of(graph: tf.Graph) -> InputTrace | None:
    """Returns the trace of the `input_fn` that is being called in a graph, None where it is none of `input_fn`."""
    trace = _trace.get()
    return trace if trace is not None and trace.graph is graph and not tf.executing_eagerly() else None


_trace: contextvars.ContextVar[InputTrace | None] = contextvars.ContextVar("mox_input_trace", default=None)


def _transformed(
    transform: Callable[[Features], Features], order: Order, needed: frozenset[str] | None
) -> Callable[..., Any]:
    @no_autograph
    def call(after: tf.Tensor, features: Features) -> tuple[tf.Tensor, Features]:
        key, graph = f"{order.seed}/transform", tf.compat.v1.get_default_graph()
        with randomness.seeded(key, order.seed_at(after), graph=graph):
            result = transform(features)
        return after, {name: value for name, value in result.items() if needed is None or name in needed}

    return call


def watched(
    elements: Dataset, sources: tuple[SampleSource, ...], *, order: Order, start: tuple[int, ...], report: SkipReport
) -> Dataset:
    """Tells a report of the gaps in the positions, and gives (the last next position of each source, the rest).

    Args:
        elements: gives (next positions, a tensor of any shape for each source; the rest).
        sources: what the positions are of; where there are none, the positions are counted and have no gaps.
        order: what this worker reads.
        start: the first position of each.
        report: is told of the samples that are missing.
    """

    @no_autograph
    def watch(expected: tf.Tensor, element: tuple[tuple[tf.Tensor, ...], Any]) -> tuple[tf.Tensor, Any]:
        positions, rest = element
        afters = [tf.reshape(after, [-1]) for after in positions]
        told = []
        for number, (source, after) in enumerate(zip(sources, afters, strict=False)):
            before = tf.concat([expected[number : number + 1], after[:-1]], 0)
            tell = functools.partial(report.tell, functools.partial(report.gaps, source, order), [before, after])
            told.append(tf.cond(tf.reduce_all(after - order.workers == before), lambda: True, tell))
        with tf.control_dependencies(told):
            lasts = tf.stack([after[-1] for after in afters])
        return lasts, (lasts, rest)

    return elements.scan(tf.convert_to_tensor(start, tf.int64), watch)


def share(dataset: Dataset, order: Order, start: int) -> Dataset:
    """Returns the elements of a dataset that this worker reads, from a position on: all that a generator gives."""
    if order.workers > 1 and tf.executing_eagerly() and reads_generator(dataset):
        return dataset.skip(start // order.workers) if start else dataset
    rest = dataset.skip(start) if tf.is_tensor(start) or start else dataset
    return rest.shard(order.workers, order.worker) if order.workers > 1 else rest


def reads_generator(dataset: Dataset) -> bool:
    """Whether elements come from a Python generator, in any stage of a dataset."""
    return "GeneratorDataset" in dataset_op_types(tf.data.experimental.to_variant(dataset))


@no_autograph
def _alone(after: tf.Tensor, features: Features) -> tuple[tuple[tf.Tensor], Features]:
    return (after,), features


@no_autograph
def _not_alone(after: tf.Tensor, features: Features) -> tuple[tf.Tensor, Features]:
    return after[0], features


@no_autograph
def _true(_after: tf.Tensor, _features: Features) -> bool:
    return True


def parallel_reads() -> int:
    """Returns how many samples are fetched at a time: waiting for files and decoding overlap."""
    return 2 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2 * (os.cpu_count() or 1)
