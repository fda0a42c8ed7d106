"""From `input_fn(mode)`, written for one sample, to a parallel tf.data pipeline of batches.

`input_fn` is called once, in a graph. What it reads (`dataset.get`) becomes placeholders there, and the operations
between them and what it returns become the function of a parallel map. Each batch carries its position, see `order`.
"""

from __future__ import annotations

import contextlib
import functools
import traceback
from typing import TYPE_CHECKING, Any, Final, cast

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine.input.bad_samples import BadSampleReport, report_gaps
from mox_core.engine.input.batching import Batching, flat_batches, inputs_spec, last_positions, make_batches
from mox_core.engine.input.dataset_source import reads_generator
from mox_core.engine.input.epochs import ONE_BY_ONE
from mox_core.engine.input.gathered_batches import GatheredBatches
from mox_core.engine.input.image_cut import ClassList, ToldClasses, class_lists, image_function, told_classes
from mox_core.engine.input.input_elements import is_fused, open_dataset, open_samples, warn_of_no_scaling
from mox_core.engine.input.order import Order
from mox_core.engine.input.read_errors import failing_sample, input_fn_error, read_error
from mox_core.engine.input.read_iterators import reading
from mox_core.engine.input.replica_batches import batches_for_replicas, parts_for_replicas
from mox_core.engine.input.sample_checks import check_samples, warn_of_unequal
from mox_core.engine.input.structure import InputStructure
from mox_core.engine.input.traced_input import TracedInput, trace_input_fn
from mox_core.engine.input.tuning import tuned_on_large_machines
from mox_core.engine.input.whole_batches import WholeBatches, whole_batches
from mox_core.engine.tensors import features_of
from mox_core.engine.tf_internals.error_messages import is_of_iterator
from mox_core.modes import ModeKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mox_core.engine.tensors import Dataset

_NOT_SHARED: Final = (
    "the input comes from a Python generator (tf.data.Dataset.from_generator), which cannot be divided among workers: "
    "each of them reads all that its own generator gives. Let it give each worker other samples, by "
    "mox.get_flag('task_index'), or read files."
)


@define
class OpenInput:
    """An input that is being read: the only owner of its iterator.

    A process does not exit while an iterator with a Python operation still prefetches, so the iterator must go when the
    run ends: others hold this object, never the iterator.

    Attributes:
        iterator: gives (next positions, inputs), or only inputs where positions are counted; None when closed.
        endless: whether it never ends.
        stride: how far each element moves the position, where it is always the same and is counted here.
    """

    iterator: Any
    endless: bool
    stride: int | None
    _positions: list[int]

    def positions(self) -> tf.Tensor:
        """Return the positions before the next element, int64 [sources]."""
        return tf.constant(self._positions, tf.int64)

    def advance(self, elements: int) -> None:
        """Count elements that were read by a compiled loop."""
        if self.stride is not None:
            self._positions = [position + elements * self.stride for position in self._positions]

    def next(self) -> tuple[tf.Tensor, tuple[Any, ...]] | None:
        """Return the next positions and inputs, None at the end."""
        element = next(self.iterator, None)
        if element is None or self.stride is None:
            return element
        self.advance(1)
        return self.positions(), element

    def close(self) -> None:
        """Release the iterator."""
        self.iterator = None


@frozen(kw_only=True)
class InputPipeline:
    """The batches of one mode.

    Attributes:
        mode: the mode for which `input_fn` was called.
        batching: how single elements become batches.
        order: the order of the samples, on which their augmentation depends too, and this worker's share of it.
        replicas: how many replicas of the model get a batch of their own in each step.
        report: the report of bad samples.
    """

    mode: str
    batching: Batching
    order: Order
    replicas: int
    report: BadSampleReport
    _traced: TracedInput
    # Validation opens its input again and again, at the same place.
    _opened: dict[tuple[int, ...], Dataset] = field(factory=dict, init=False)

    @property
    def graph(self) -> Any:
        """The graph of `input_fn`."""
        return self._traced.function.graph

    @property
    def samples_per_epoch(self) -> int | None:
        """How many samples an epoch has; None where it reads several sources, or one that does not say."""
        return self.sizes[0] or None if len(self.sizes) == 1 else None

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many samples an epoch of each of its sources has; 0 where one does not say."""
        return tuple(getattr(source, "num_samples", 0) for source in self.sources)

    @property
    def sources(self) -> tuple[Any, ...]:
        """What `input_fn` reads; none where it returned a dataset."""
        return tuple(source for source, _ in self._traced.sources)

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """The sizes of the blocks in the order of its sources; none where every epoch is one permutation."""
        sizes = self._traced.block_sizes
        return () if set(sizes) <= {ONE_BY_ONE} else sizes

    @property
    def num_positions(self) -> int:
        """How many numbers a position has: one for each source."""
        return 1 if self._traced.is_dataset else max(1, len(self.sources))

    @functools.cached_property
    def endless(self) -> bool:
        """Whether the input never ends."""
        if self._traced.is_dataset:
            dataset = open_dataset(self._traced, Order(seed=0), (0,))
            return int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY
        return all(source.end is None for source in self.sources)

    @property
    def stride(self) -> int | None:
        """How far each element moves the position, where it is always the same; else None."""
        if not self._traced.is_dataset:
            return None
        return self.samples_in_element * self.batches_in_step * self.order.workers

    @property
    def batches_in_step(self) -> int:
        """How many batches a step takes: one for each replica, or one of which each gets a part."""
        return 1 if self._shares_batches else self.replicas

    @property
    def _shares_batches(self) -> bool:
        return self._traced.input_spec is not None and self._traced.input_spec.split_to_device

    @property
    def samples_in_element(self) -> int:
        """How many samples of a source mox puts into a batch."""
        return (self.batching.batch_size or 1) if self.batching.by_mox else 1

    @functools.cached_property
    def fed(self) -> tuple[tf.TensorSpec, ...]:
        """Specs of all that a step is fed: of several replicas, see `replica_batches`."""
        batches = self._open((0,) * self.num_positions)
        return tuple(cast("Any", batches.element_spec) if self._traced.is_dataset else features_of(batches))

    @functools.cached_property
    def structure(self) -> InputStructure:
        """The structure of the inputs of `model_fn`."""
        batches = self._from_the_start
        leaves = tf.nest.flatten(inputs_spec(batches, counted=self._traced.is_dataset))
        inputs = tuple(tf.nest.pack_sequence_as(self._traced.inputs, leaves))
        return InputStructure(inputs, as_input_spec=self._traced.input_spec is not None)

    @functools.cached_property
    def classes(self) -> ToldClasses:
        """What its data sets tell of the classes."""
        return told_classes(self._traced)

    @functools.cached_property
    def class_lists(self) -> tuple[ClassList, ...]:
        """The classes of each data set whose labels it gives on, in the order in which it reads them."""
        return class_lists(self._traced)

    def image_function(self, leaf: int) -> Any:
        """Return how `input_fn` makes the input with a number of a decoded image; None where that is not known."""
        return image_function(self._traced, leaf)

    def count_samples(self, start: list[int], limit: int) -> int:
        """Return how many samples `input_fn` gives this worker from a position on: to say so where they were too few.

        Args:
            start: the positions.
            limit: the highest number that is counted. Where mox makes no batches, batches are counted.
        """
        if self._traced.is_dataset:
            elements = open_dataset(self._traced, self.order, tuple(start))
        else:
            elements = open_samples(self._traced, self.order, self.report, tuple(start), fused=self._fused)
        return sum(1 for _ in elements.take(limit))

    def check(self) -> None:
        """Build the batches once, which fails for samples that no batch can hold."""
        self._open((0,) * self.num_positions)

    @contextlib.contextmanager
    def open(
        self, start: list[int] | None = None, reached: Callable[[], list[int]] | None = None
    ) -> Iterator[OpenInput]:
        """Open the input at a position, its beginning by default, and close it however the block ends.

        Args:
            start: the positions.
            reached: returns the positions that the run has come to, where it keeps them; to find a sample that fails.
        """
        positions = start or [0] * self.num_positions
        if self.order.workers > 1 and any(map(reads_generator, self._traced.datasets())):
            self.report.warn_once("generator", _NOT_SHARED)
        opened = OpenInput(iter(self._open(tuple(positions))), self.endless, self.stride, positions)
        try:
            with reading(self.mode, self.report, resumed=self.mode == ModeKeys.TRAIN and any(positions)):
                yield opened
            self.report.warn_of_doubtful(reached() if reached else None)
        except tf.errors.OpError as error:
            # TensorFlow's frames hold the iterator, and whoever keeps the error keeps the frames.
            traceback.clear_frames(error.__traceback__)
            self.report.raise_error()
            if not is_of_iterator(error):
                raise
            self.report.raise_doubt(error)
            opened.close()
            sample = failing_sample(self._traced, self.order, self.report, reached() if reached else positions)
            raise read_error(error, self.mode, sample) from error
        finally:
            opened.close()

    def open_share(self, start: tuple[Any, ...], order: Order, report: BadSampleReport) -> Dataset:
        """Return the batches of a worker, each a flat list of tensors.

        Args:
            start: the positions at which it begins, which may be tensors.
            order: its share of the samples.
            report: its report of bad samples.
        """
        counted = self._traced.is_dataset
        is_first = order is self.order and report is self.report and start == (0,) * self.num_positions
        made = self._from_the_start if is_first else self._batches(start, order, report)
        batches = flat_batches(made, counted=counted)
        if self.replicas > 1 and self._shares_batches:
            batches = parts_for_replicas(batches, self.replicas, self.structure, whole=self._whole)
        elif self.replicas > 1:
            batches = batches_for_replicas(batches, self.replicas, counted=counted, whole=self._whole)
        return batches if self._is_ahead else batches.prefetch(tf.data.AUTOTUNE)

    @property
    def _is_ahead(self) -> bool:
        """Whether batches are made ahead of the step that takes them by what makes them, without a thread more."""
        size = self.batching.batch_size
        return (
            self.replicas == 1
            and self.batching.by_mox
            and size is not None
            and isinstance(self._many, GatheredBatches)
            and self._many.is_ahead(size)
        )

    @property
    def _whole(self) -> bool:
        """Whether all batches are whole: those of TRAIN have one static shape; elsewhere every sample counts."""
        return self.endless or self.mode == ModeKeys.TRAIN

    def _batches(self, start: tuple[Any, ...], order: Order, report: BadSampleReport) -> Dataset:
        """Return the batches of a worker in the structure in which tf.data makes them."""
        whole = self._whole
        size = self.batching.batch_size if self.batching.by_mox else None
        if self._traced.is_dataset:
            batches = open_dataset(self._traced, order, start)
            return batches if size is None else make_batches(batches, size, counted=True, whole=whole)
        watch = functools.partial(report_gaps, sources=self.sources, order=order, start=start, report=report)
        if size is not None and (many := self._many) is not None:
            if isinstance(many, GatheredBatches):
                return many.batches(size, order=order, start=start[0], whole=whole)
            return many.batches(size, order=order, report=report, start=start[0], whole=whole, watch=watch)
        if self._fused:
            report.why_failed = functools.partial(input_fn_error, self._traced, self.mode)
        elements = open_samples(self._traced, order, report, start, fused=self._fused)
        if size is None:
            return watch(elements)
        if whole and not self.endless:
            # Before the last samples are dropped: bad ones among them are reported too.
            return make_batches(watch(elements), size, counted=False, whole=True).map(last_positions)
        return watch(make_batches(elements, size, counted=False, whole=whole))

    @functools.cached_property
    def _from_the_start(self) -> Dataset:
        """The batches from the beginning of the input on, which `structure` looks at too."""
        return self._batches((0,) * self.num_positions, self.order, self.report)

    @functools.cached_property
    def _fused(self) -> bool:
        return is_fused(self._traced)

    @functools.cached_property
    def _many(self) -> WholeBatches | GatheredBatches | None:
        return whole_batches(self._traced)

    def _open(self, start: tuple[int, ...]) -> Dataset:
        if start not in self._opened:
            self._opened.clear()
            # Not those of workers with parameter servers: TensorFlow warns of options of a dataset that it sends.
            self._opened[start] = tuned_on_large_machines(self.open_share(start, self.order, self.report))
        return self._opened[start]


def build_pipeline(
    input_fn: Callable[..., Any],
    mode: str,
    batching: Batching,
    *,
    order: Order,
    replicas: int = 1,
    beside: InputPipeline | None = None,
    blocks: Sequence[int] | None = None,
) -> InputPipeline:
    """Call `input_fn` once and build the pipeline of its batches.

    Args:
        input_fn: the user's function of the mode.
        mode: one of `ModeKeys`.
        batching: how single elements become batches.
        order: the order of the samples, and this worker's share of it.
        replicas: how many replicas of the model get a batch of their own in each step.
        beside: the input of another mode of the run.
        blocks: the `block_sizes` of the run that is gone on with; None for those of the sources.

    Raises:
        UsageError: if `input_fn` returns what cannot be an input.
    """
    traced = trace_input_fn(input_fn, mode, order.seed)
    traced = traced if blocks is None else traced.in_blocks(blocks)
    warn_of_no_scaling(traced, mode)
    warn_of_unequal(traced, mode)
    check_samples(traced, batching.batch_size if batching.by_mox else None, mode)
    pipeline = InputPipeline(
        mode=mode,
        batching=batching,
        order=order,
        replicas=replicas,
        report=BadSampleReport(mode, beside.report.said if beside else None),
        traced=traced,
    )
    pipeline.check()
    return pipeline
