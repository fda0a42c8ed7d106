"""Samples by index: what a dataset plugin hands to the core, which decides their order (`order`)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs
import tensorflow as tf
from attrs import field, frozen, validators

from mox_core.engine import randomness
from mox_core.engine.cores import cores
from mox_core.engine.input.bad_samples import BadSampleReport, readable_only, report_gaps
from mox_core.engine.input.epochs import ONE_BY_ONE, Blocks, EpochOrder
from mox_core.engine.input.image_decoding import decoded
from mox_core.engine.input.order import Order
from mox_core.engine.input.packs import read_packs
from mox_core.engine.input.script_reads import read_source
from mox_core.engine.tensors import READABLE, Features, features_of, no_autograph, zeros_of_spec

if TYPE_CHECKING:
    from mox_core.engine.tensors import Dataset

Fetch = Callable[..., tuple[tf.Tensor, Features]]
"""Function of a position (int64 scalar) that returns the next position of this worker, and the sample there.

Further arguments go to the `fetch` of the source; `index` is the index at the position, where it is known.
"""

_SMALLEST_BLOCK: Final = 1024
"""A source that never ends is read in blocks, so that a set without one readable sample is noticed."""
_TRIED: Final = 64
"""How many samples there are in the first block of such a source, where `input_fn` runs as they are read."""
_TOLD_AHEAD: Final = 256
_TOLD_AT_A_TIME: Final = 16
"""How many samples ahead `read_ahead` is told, and how many at once."""
_FOUND_AT_A_TIME: Final = 256
"""Of how many positions the indices are computed at once."""


def _no_error(_index: int) -> str:
    return ""


@frozen(kw_only=True)
class SampleSource:
    """Samples that are read by their index, in an order that the core decides.

    Attributes:
        can_fuse: whether `input_fn` may work on a sample where it is read: `good_samples` is that of this class.
        num_samples: how many there are; indices run from 0 to num_samples - 1.
        fetch: function of an index (int64 scalar) that returns the features of the sample by name, in TensorFlow
            operations. They run in parallel. An operation that fails marks the sample as bad, and TensorFlow may
            write of it to stderr; so does a feature READABLE (bool scalar) that is False, without a word.
        fetch_many: function of indices (int64, [number]) that returns what `fetch` does of all of them, with a row for
            each; None where a sample may be bad, which has to be found among others. By it whole batches are made.
        describe: function of an index that returns the name of the sample (a file name, say), for messages.
        on_bad_sample: 'skip' leaves a bad sample out, with a warning that names it; 'raise' ends the run with its name.
        why_bad: what may be wrong with the content of a sample that cannot be read, for messages.
        system_error: function of an index that returns why the system does not let the sample be read ('Permission
            denied', say), which is said in place of why_bad; '' if it does. It is called for bad samples only. A
            MoxError that it raises ends the run, where no other sample can be read either.
        read_ahead: function that is told the indices of the samples that this worker reads next, in their order, some
            hundred before they are read: to fetch them meanwhile. A MoxError that it raises ends the run.
        shuffle: whether each epoch has an order of its own.
        num_epochs: how many epochs there are; None for no end.
        transform: function of the features of one good sample; an error in its operations ends the run.
        batch_size: how many samples one element holds; None for single samples.
        drop_remainder: whether a last batch of fewer samples is left out.
        class_names: the names of the classes by label, which an exported model carries; none where they are not known.
        exclusive_classes: whether a sample is of one class.
        blocks: how samples that lie together are read at a time; None where they are read one by one.
        block_size: how many samples a block of the order has, where it is not that of `blocks`: in a run that goes on
            with another one.
        make_image: function of a decoded image (uint8, [height, width, 3]) that returns the feature 'image' of one
            sample, by which an exported model makes its input of new images; None where that is not so made.
        encoded: whether `fetch` returns a feature ENCODED, the bytes of an image file, in place of 'image'. mox decodes
            it (`decode_image`), and of a JPEG only what `input_fn` crops.
        dct_scaling: whether a crop of a JPEG that `input_fn` shrinks to half or less is decoded smaller.
    """

    can_fuse: ClassVar[bool] = True
    num_samples: int = field(validator=validators.ge(1))
    fetch: Callable[..., Features]
    describe: Callable[[int], str]
    fetch_many: Callable[[tf.Tensor], Features] | None = None
    on_bad_sample: str = field(default="skip", validator=validators.in_(("skip", "raise")))
    why_bad: str = "damaged, empty, or of no known format"
    system_error: Callable[[int], str] = _no_error
    read_ahead: Callable[[Sequence[int]], None] | None = None
    shuffle: bool = False
    num_epochs: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    transform: Callable[[Features], Features] | None = None
    batch_size: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    drop_remainder: bool = False
    class_names: Sequence[str] = ()
    exclusive_classes: bool = True
    make_image: Callable[[tf.Tensor], tf.Tensor] | None = None
    encoded: bool = False
    dct_scaling: bool = False
    blocks: Blocks | None = None
    block_size: int | None = field(default=None, validator=validators.optional(validators.ge(1)))

    def read(self) -> Features:
        """Return the features of one element as tensors, inside `input_fn`: in each call those of the same element.

        In a graph of the script's own they are tensors that a session reads, and eagerly, where `sdk.read_once` calls
        this, those of the next element.

        Raises:
            UsageError: anywhere else.
        """
        return read_source(self)

    def specs(self) -> dict[str, tf.TensorSpec]:
        """Return the specs of the features of one element."""
        with tf.init_scope():
            order = Order(seed=0)
            contents = () if self.blocks is None else self.blocks.contents
            numbers = tf.data.Dataset.from_tensors((tf.constant(0, tf.int64), *map(zeros_of_spec, contents)))
            samples = readable_only(numbers.map(self.fetcher(order, None)))
            specs: dict[str, tf.TensorSpec] = features_of(self._batched(samples, order, None))
            return specs

    @property
    def end(self) -> int | None:
        """The position after the last one; None where there is no last one."""
        return None if self.num_epochs is None else self.num_epochs * self.num_samples

    def epochs(self, seed: int) -> EpochOrder:
        """Return the order of the samples in a run with a seed."""
        size = self.block_size or (ONE_BY_ONE if self.blocks is None else self.blocks.size)
        return EpochOrder(num_samples=self.num_samples, shuffle=self.shuffle, seed=seed, block=size)

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """How many samples a block of its order has, for checkpoints: ONE_BY_ONE where an epoch is one permutation."""
        epochs = self.epochs(seed=0)
        return (ONE_BY_ONE if epochs.windows == 1 else epochs.block,)

    def in_blocks(self, sizes: Sequence[int]) -> SampleSource:
        """Return the source in the order of a run of which `block_sizes` are known."""
        return attrs.evolve(self, block_size=sizes[0])

    def index_at(self, position: tf.Tensor, order: Order) -> tf.Tensor:
        """Return the index of the sample that this worker reads at a position (int64, a scalar or a vector)."""
        return self.epochs(order.seed).index_at(position + order.worker)

    def sample_at(self, position: tf.Tensor, order: Order) -> Features:
        """Return the features of the sample that this worker reads at a position (int64 scalar)."""
        return self.sample_of(self.index_at(position, order))

    def sample_of(self, index: tf.Tensor, *content: tf.Tensor) -> Features:
        """Return the features of the sample with an index (int64 scalar); further arguments are those of `fetch`."""
        features = self.fetch(index, *content)
        return decoded(features) if self.encoded else features

    def name_at(self, position: int, order: Order) -> str:
        """Return the name of the sample that this worker reads at a position, for messages."""
        with tf.init_scope():
            return self.describe(int(self.index_at(tf.constant(position, tf.int64), order)))

    def system_error_at(self, position: int, order: Order) -> str:
        """Return why the system does not let the sample be read that this worker reads at a position."""
        with tf.init_scope():
            return self.system_error(int(self.index_at(tf.constant(position, tf.int64), order)))

    def dataset(self, *, order: Order, start: int, needed: frozenset[str] | None, report: BadSampleReport) -> Dataset:
        """Return (next position, features) from a position on; a resumed run would start at the next position.

        Args:
            order: the share of this worker.
            start: the first position.
            needed: the names of the features that are used; None for all.
            report: the report of the samples that are left out.
        """
        elements = self.elements(order=order, start=start, needed=needed, report=report).map(_alone)
        return report_gaps(elements, (self,), order=order, start=(start,), report=report).map(_not_alone)

    def elements(
        self,
        *,
        order: Order,
        start: int,
        needed: frozenset[str] | None,
        report: BadSampleReport,
        then: Callable[[Features, tf.Tensor], Features] | None = None,
    ) -> Dataset:
        """Return what `dataset` returns, without looking for gaps in the positions: for sources that are zipped.

        With a batch_size, there is a next position for each sample of the batch.
        `then` is that of `fetcher`.
        """
        fetch = self.fetcher(order, None if self.transform is not None else needed, then)
        samples = self.good_samples(fetch, start, order, report)
        return self._batched(samples, order, needed)

    def _batched(self, samples: Dataset, order: Order, needed: frozenset[str] | None) -> Dataset:
        """Return elements of good samples."""
        if self.transform is not None:
            samples = samples.map(_transformed(self.transform, order, needed), num_parallel_calls=tf.data.AUTOTUNE)
        if self.batch_size is None:
            return samples
        return samples.batch(self.batch_size, drop_remainder=self.drop_remainder or self.end is None)

    def fetcher(
        self,
        order: Order,
        needed: frozenset[str] | None,
        then: Callable[[Features, tf.Tensor], Features] | None = None,
    ) -> Fetch:
        """Return the function of a position, and of a content where blocks are read, that returns the sample there.

        Args:
            order: the share of this worker.
            needed: the names of the features that it returns; None for all.
            then: function of (features, seed of their position) that makes others of them; of features with ENCODED, in
                place of `decoded`.
        """

        @no_autograph
        def fetch(
            position: tf.Tensor, *content: tf.Tensor, index: tf.Tensor | None = None
        ) -> tuple[tf.Tensor, Features]:
            key, graph = f"{order.seed}/fetch", tf.compat.v1.get_default_graph()
            with randomness.seeded(key, position + order.worker, graph=graph):
                features = self.fetch(self.index_at(position, order) if index is None else index, *content)
            after = position + order.workers
            if then is not None:
                features = then(features, order.seed_at(after))
            elif self.encoded:
                features = decoded(features)
            kept = {name: value for name, value in features.items() if needed is None or name in {*needed, READABLE}}
            return after, kept

        return fetch

    def samples(self, first: tf.Tensor, stop: tf.Tensor, fetch: Fetch, order: Order) -> Dataset:
        """Return (next position, features) from a position on; a bad sample is an error.

        A subclass may know a faster way than one by one, with the same results as `fetch`.

        Args:
            first: the first position.
            stop: the end of the positions, which may lie between two of this worker.
            fetch: function of a position (int64 scalar) that returns the sample; further arguments are passed on to the
                `fetch` of the source.
            order: the share of this worker.
        """
        if self.blocks is None:
            positions = tf.data.Dataset.range(first, stop, order.workers).batch(_FOUND_AT_A_TIME)
            indexed = positions.map(no_autograph(lambda many: (many, self.index_at(many, order)))).unbatch()
            read: Any = no_autograph(lambda position, index: fetch(position, index=index))  # of two arguments
            return indexed.map(read, num_parallel_calls=parallel_reads())
        packs = read_packs(
            self.epochs(order.seed), self.blocks, first=first, stop=stop, order=order, size=self.blocks.size
        )
        rows = packs.map(no_autograph(lambda _, positions, indices, contents: (positions, indices, *contents)))
        of_content: Any = no_autograph(lambda position, index, *content: fetch(position, *content, index=index))
        return rows.unbatch().map(of_content, num_parallel_calls=parallel_reads())

    def good_samples(self, fetch: Fetch, start: int, order: Order, report: BadSampleReport) -> Dataset:
        """Return (next position, features) from a position on, without the samples that cannot be read.

        A sample that fails leaves a gap in the positions, by which it is found later. Gaps at the end of the input
        would not be found so, and a set of which nothing can be read would go round for ever: so the positions come in
        blocks, and the last one of each block is checked. The first one is an epoch, however short; and short where
        `input_fn` itself may fail, which is to be seen soon.
        """
        first_block = self.num_samples if report.why_failed is None else min(self.num_samples, _TRIED)
        sizes = (first_block, max(self.num_samples, _SMALLEST_BLOCK))
        epoch, length = (-(-size // order.workers) * order.workers for size in sizes)
        stop_at = tf.int64.max if self.end is None else self.end - order.worker

        @no_autograph
        def block(number: tf.Tensor) -> Dataset:
            first = start + tf.where(number == 0, tf.constant(0, tf.int64), epoch + (number - 1) * length)
            stop = tf.minimum(first + tf.where(number == 0, tf.constant(epoch, tf.int64), length), stop_at)
            samples = readable_only(self._samples(first, stop, fetch, order, report))
            unused = tf.nest.map_structure(zeros_of_spec, samples.element_spec)

            @no_autograph
            def check(is_read: Any) -> Any:
                def report_tail() -> tf.Tensor:
                    return report.tail_op(self, order, first, stop, lambda: samples)

                return tf.cond(is_read, lambda: False, report_tail)  # never True: it adds no element

            ending_at = stop - 1 - tf.math.floormod(stop - 1 - first, order.workers)
            last = readable_only(tf.data.Dataset.from_tensors(ending_at).map(fetch))
            read = last.ignore_errors().map(_true)
            ending = read.concatenate(tf.data.Dataset.from_tensors(False)).take(1).filter(check)
            if self.read_ahead is not None:
                ending = tf.data.Dataset.from_tensors(False).filter(report.end_op).concatenate(ending)
            return samples.ignore_errors().concatenate(ending.map(no_autograph(lambda _: unused)))

        left = stop_at - tf.convert_to_tensor(start, tf.int64)
        more = tf.maximum((left - epoch - 1) // length + 1, 0)
        return tf.data.Dataset.range(tf.where(left > 0, 1 + more, 0)).flat_map(block)

    def _samples(
        self, first: tf.Tensor, stop: tf.Tensor, fetch: Fetch, order: Order, report: BadSampleReport
    ) -> Dataset:
        """Return what `samples` does, and tell `read_ahead` what is read next; where it fails, no more come."""
        if self.read_ahead is None:
            return self.samples(first, stop, fetch, order)
        tell = functools.partial(report.tell, self.read_ahead)
        indexed = tf.data.Dataset.range(first, stop, order.workers).map(
            no_autograph(lambda position: (position, self.index_at(position, order)))
        )
        told = indexed.batch(_TOLD_AT_A_TIME).map(
            no_autograph(lambda positions, indices: (positions, report.call_op(tell, [indices])))
        )
        is_told: Any = no_autograph(lambda _, is_told: is_told)  # the stubs know no function of two
        going_on = told.prefetch(_TOLD_AHEAD // _TOLD_AT_A_TIME).take_while(is_told)
        positions = going_on.map(no_autograph(lambda positions, _: positions)).unbatch()
        return positions.map(fetch, num_parallel_calls=parallel_reads())


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
    """Return how many samples are fetched at a time: waiting for files and decoding overlap."""
    return 2 * cores()
