"""From `input_fn(mode)`, written for one sample, to a parallel tf.data pipeline of batches.

`input_fn` is called once, in a graph. What it reads (`dataset.get`) becomes placeholders there, and the ops between
them and what it returns become the function of a parallel map. Each batch carries its position, see `sources`.
"""

from __future__ import annotations

import contextlib
import functools
import traceback
import warnings
from typing import TYPE_CHECKING, Any, cast

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.engine import groups, iterators, randomness, sources
from mox_core.engine.skipped import SkipReport
from mox_core.engine.typed import features_of, no_autograph
from mox_core.errors import DataError, UsageError
from mox_core.modes import ModeKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mox_core.engine.typed import Dataset

_NOT_SHARED = (
    "the input comes from a Python generator (tf.data.Dataset.from_generator), which cannot be divided among workers: "
    "each of them reads all that its own generator gives. Let it give each worker other samples, by "
    "mox.get_flag('task_index'), or read files."
)
_DIFFERENT_SHAPES = ("Cannot batch tensors with different shapes", "Cannot add tensor to the batch")


@frozen(kw_only=True)
class Batching:
    """How single elements become batches, as `mox.run` is told.

    Attributes:
        batch_size: samples in a batch; None where `input_fn` gives whole batches.
        auto: whether mox makes the batches.
    """

    batch_size: int | None
    auto: bool

    @property
    def by_mox(self) -> bool:
        """Whether the elements of `input_fn` are single samples."""
        return self.auto and self.batch_size is not None


@define
class OpenInput:
    """An input that is being read: the only owner of its iterator.

    A process does not exit while an iterator with a Python op still prefetches, so the iterator must go when the run
    ends: others hold this object, never the iterator.

    Attributes:
        iterator: gives (next positions, inputs), or only inputs where positions are counted; None when closed.
        endless: whether it never ends.
        stride: by how much each element moves the position, where it is always the same and is counted here.
    """

    iterator: Any
    endless: bool
    stride: int | None
    _positions: list[int]

    def positions(self) -> tf.Tensor:
        """The positions before the next element."""
        return tf.constant(self._positions, tf.int64)

    def advance(self, steps: int) -> None:
        """Takes note that steps have been done elsewhere."""
        if self.stride is not None:
            self._positions = [position + steps * self.stride for position in self._positions]

    def next(self) -> tuple[tf.Tensor, tuple[Any, ...]] | None:
        """Returns the next positions and inputs, None at the end."""
        element = next(self.iterator, None)
        if element is None or self.stride is None:
            return element
        self.advance(1)
        return self.positions(), element

    def close(self) -> None:
        """Lets go of the iterator."""
        self.iterator = None


@frozen(kw_only=True)
class InputPipeline:
    """The batches of one mode.

    Attributes:
        mode: the mode for which `input_fn` was called.
        specs: shape and dtype of each input of `model_fn`.
        fed: the same of all that a step is fed: of several copies, see `groups`.
        num_positions: how many numbers a position has: one for each source.
        endless: whether the input never ends.
        by_mox: whether mox made the batches.
        stride: see `OpenInput`.
        report: the account of bad samples.
        open_share: opens what another worker reads, where the start may be tensors, with an account of its own.
        sources: what the positions are of.
        graph: that of `input_fn`.
        samples_in_element: how many samples of a source mox puts into an element.
        generated: whether a Python generator gives elements to several workers.
    """

    mode: str
    specs: tuple[tf.TensorSpec, ...]
    fed: tuple[tf.TensorSpec, ...]
    num_positions: int
    endless: bool
    by_mox: bool
    stride: int | None
    report: SkipReport
    open_share: Callable[[tuple[Any, ...], sources.Order, SkipReport], Dataset]
    sources: tuple[Any, ...]
    graph: tf.Graph
    samples_in_element: int
    generated: bool
    _open: Callable[[tuple[int, ...]], Dataset] = field(alias="open")

    @contextlib.contextmanager
    def open(self, start: list[int] | None = None) -> Iterator[OpenInput]:
        """Opens the input at a position, its beginning by default, and closes it in whichever way the block ends."""
        positions = start or [0] * self.num_positions
        if self.generated:
            self.report.warn_once("generator", _NOT_SHARED)
        opened = OpenInput(iter(self._open(tuple(positions))), self.endless, self.stride, positions)
        try:
            yield opened
        except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
            # TensorFlow's frames hold the iterator, and whoever keeps the error keeps the frames.
            traceback.clear_frames(error.__traceback__)
            self.report.raise_error()
            if not any(each in error.message for each in _DIFFERENT_SHAPES):
                raise
            msg = (
                f"the samples of input_fn in mode {self.mode} are not all of one shape "
                f"({error.message.splitlines()[0]}). "
                "Samples of a batch must agree: resize them (dataset argument image_size, or "
                "mox.get_data_augmentation_fn), or batch them yourself with auto_batch=False. Only sequences of "
                "integers are filled up with zeros: those of rank 1 and unknown length, set_shape([None])."
            )
            raise DataError(msg) from error
        finally:
            opened.close()


def build(
    input_fn: Callable[..., Any], mode: str, batching: Batching, *, order: sources.Order, copies: int = 1
) -> InputPipeline:
    """Calls `input_fn` once and makes the pipeline of its batches.

    Args:
        input_fn: the user's function of the mode.
        mode: one of `ModeKeys`.
        batching: what makes batches.
        order: the order of the samples, of which their augmentation depends too, and this worker's share of it.
        copies: how many copies of the model get a batch of their own in each step.

    Raises:
        UsageError: where `input_fn` returns what cannot be an input.
    """
    traced = _trace(input_fn, mode, order.seed)
    report = SkipReport()
    if traced.is_dataset:
        num_positions, stride = 1, (batching.batch_size if batching.by_mox else 1)
        endless = int(_open_dataset(traced, sources.Order(seed=0), (0,)).cardinality()) == tf.data.INFINITE_CARDINALITY
    else:
        num_positions, stride = max(1, len(traced.sources)), None
        endless = all(source.end is None for source, _ in traced.sources)

    def open_share(start: tuple[Any, ...], order: sources.Order, report: SkipReport) -> Dataset:
        # Batches of TRAIN have one static shape, as the original's had; elsewhere every sample counts.
        whole = endless or mode == ModeKeys.TRAIN
        size = batching.batch_size if batching.by_mox else None
        if traced.is_dataset:
            batches = _open_dataset(traced, order, start)
            batches = batches if size is None else _batched(batches, size, whole=whole)
        else:
            read = tuple(source for source, _ in traced.sources)
            watch = functools.partial(sources.watched, sources=read, order=order, start=start, report=report)
            elements = _open_samples(traced, order, report, start)
            if size is None:
                batches = watch(elements)
            elif whole and not endless:
                # Before the last samples are dropped: bad ones among them are told too.
                batches = _batched(watch(elements), size, whole=True).map(_last_positions)
            else:
                batches = watch(_batched(elements, size, whole=whole))
        if copies > 1:
            batches = groups.grouped(batches, copies, counted=traced.is_dataset, whole=whole)
        return batches.prefetch(tf.data.AUTOTUNE)

    @functools.lru_cache(maxsize=1)  # validation opens its input again and again, at the same place
    def open_batches(start: tuple[int, ...]) -> Dataset:
        return open_share(start, order, report)

    batches = open_batches((0,) * num_positions)
    fed = tuple(cast("Any", batches.element_spec) if traced.is_dataset else features_of(batches))
    return InputPipeline(
        mode=mode,
        specs=fed if copies == 1 else fed[1 : 1 + (len(fed) - 1) // copies],
        fed=fed,
        num_positions=num_positions,
        endless=endless,
        by_mox=batching.by_mox,
        stride=None if stride is None else stride * copies * order.workers,
        report=report,
        open=open_batches,
        open_share=open_share,
        sources=tuple(source for source, _ in traced.sources),
        graph=traced.function.graph,
        samples_in_element=(batching.batch_size or 1) if batching.by_mox else 1,
        generated=order.workers > 1 and any(map(sources.reads_generator, traced.datasets())),
    )


@frozen(kw_only=True)
class _Traced:
    """`input_fn` as a graph.

    Attributes:
        function: gives what it returned; `prune` cuts functions of the placeholders out of it.
        place: the placeholder of the position from which random ops take their seeds.
        sources: what it reads, each with the placeholders of its features.
        spec: the elements of the dataset that it returned; None where it returned tensors.
    """

    function: Any
    place: tf.Tensor
    sources: list[tuple[Any, sources.Features]]
    spec: Any

    @property
    def is_dataset(self) -> bool:
        """Whether it returned a dataset of its own."""
        return self.spec is not None

    def datasets(self) -> list[Dataset]:
        """Returns the datasets of the user's own that it reads."""
        if self.is_dataset:
            return [tf.data.experimental.from_variant(self.function()[0], self.spec)]
        return [source.dataset() for source, _ in self.sources if isinstance(source, iterators.DatasetSource)]


def _trace(input_fn: Callable[..., Any], mode: str, seed: int) -> _Traced:
    """Calls `input_fn` in a graph."""
    made: dict[str, Any] = {"spec": None}

    def body() -> list[tf.Tensor]:
        graph = tf.compat.v1.get_default_graph()
        made["place"] = tf.compat.v1.placeholder(tf.int64, [], name="position")
        tf.compat.v1.set_random_seed(seed)  # of this graph: what `Dataset.shuffle` in it goes by
        with sources.tracing(graph) as trace, randomness.seeded(f"{seed}/{mode}/input", made["place"], graph=graph):
            result = input_fn(mode)
        made["sources"] = trace.sources
        if isinstance(result, tf.data.Dataset):
            made["spec"] = result.element_spec
            return [tf.data.experimental.to_variant(result)]
        return _as_tensors(result, mode)

    with randomness.python_random(f"{seed}/{mode}/input"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Seed .* from outer graph")  # it is meant to be used
        function = tf.compat.v1.wrap_function(body, [])
    _check_no_iterator(function.graph)
    for source, _ in made["sources"]:
        if isinstance(source, iterators.DatasetSource):
            source.traced = function
    return _Traced(function=function, **made)


def _check_no_iterator(graph: tf.Graph) -> None:
    """Refuses an iterator of elsewhere: samples are made in parallel, which would read it in any order."""
    if any(op.type.startswith("IteratorGetNext") for op in graph.get_operations()):
        raise UsageError(
            "input_fn reads an iterator that was made outside of it: its elements would be in no order, and a resumed "
            "run would not find its place. Read the dataset itself: mox.get_next(dataset), or return dataset."
        )


def _as_tensors(result: Any, mode: str) -> list[tf.Tensor]:
    """Returns what `input_fn` returned as a list of tensors: one, a tuple or a list of them."""
    values = list(result) if isinstance(result, (list, tuple)) else [result]
    if not values or any(value is None or isinstance(value, (dict, list, tuple, set)) for value in values):
        msg = (
            f"input_fn returned {result!r} in mode {mode}. It returns one tensor, a tuple or list of tensors, "
            "or a tf.data.Dataset."
        )
        raise UsageError(msg)
    return [tf.convert_to_tensor(value) for value in values]


def _open_samples(traced: _Traced, order: sources.Order, report: SkipReport, start: tuple[int, ...]) -> Dataset:
    """Maps the ops of `input_fn` over its sources: (positions, inputs)."""
    fed = [traced.place]
    datasets = []
    outputs = traced.function.outputs
    for (source, features), position in zip(traced.sources, start, strict=False):
        needed = [name for name, tensor in features.items() if _is_used(tensor, outputs)]
        datasets.append(source.elements(order=order, start=position, needed=frozenset(needed), report=report))
        fed += [features[name] for name in sorted(needed)]
    if not datasets:
        positions = tf.data.Dataset.range(start[0] + order.workers, tf.int64.max, order.workers)
        datasets.append(positions.map(_without_features))
    function = traced.function.prune(fed, outputs)

    @no_autograph
    def apply(*elements: tuple[tf.Tensor, sources.Features]) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
        positions = tuple(after for after, _ in elements)
        values = [features[name] for _, features in elements for name in sorted(features)]
        inputs = tuple(function(order.seed_at(tf.reshape(positions[0], [-1])[-1]), *values))
        for tensor, original in zip(inputs, outputs, strict=True):
            tensor.set_shape(original.shape)  # pruning forgets what input_fn set itself
        return positions, inputs

    return tf.data.Dataset.zip(tuple(datasets)).map(apply, num_parallel_calls=tf.data.AUTOTUNE)


def _open_dataset(traced: _Traced, order: sources.Order, start: tuple[int, ...]) -> Dataset:
    """Goes on with the dataset that `input_fn` returned: a tuple of inputs."""
    spec = traced.spec
    (whole,) = traced.datasets()
    dataset = sources.share(whole, order, start[0])
    if isinstance(spec, tuple) and not any(tf.nest.is_nested(each) for each in spec):
        return dataset
    return dataset.map(_flattened)


def _batched(elements: Dataset, size: int, *, whole: bool) -> Dataset:
    """Makes batches of inputs, or of (positions, inputs). Sequences of integers are filled up with zeros.

    They are names in numbers, or words: rank 1, of a length that nobody knows. All else must be of one shape.
    """
    spec: Any = elements.element_spec
    nested = isinstance(spec[-1], tuple)
    is_sequence = [_is_sequence(each) for each in (spec[-1] if nested else spec)]
    if not any(is_sequence):
        return elements.batch(size, drop_remainder=whole)

    def on_sequences(change: Callable[[Any], Any]) -> Callable[..., Any]:
        @no_autograph
        def call(*element: Any) -> Any:
            inputs = element[-1] if nested else element
            pairs = zip(inputs, is_sequence, strict=True)
            changed = tuple(change(each) if chosen else each for each, chosen in pairs)
            return (*element[:-1], changed) if nested else changed

        return call

    def padded(ragged: tf.RaggedTensor) -> tf.Tensor:
        tensor = ragged.merge_dims(0, 1).to_tensor()
        tensor.set_shape([size if whole else None, None])
        return tensor

    as_ragged = tf.RaggedTensor.from_tensor  # type: ignore[attr-defined]  # not in the stubs
    rows = elements.map(on_sequences(lambda sequence: as_ragged(sequence[tf.newaxis])))
    return rows.batch(size, drop_remainder=whole).map(on_sequences(padded))


def _is_sequence(spec: Any) -> bool:
    return (
        isinstance(spec, tf.TensorSpec)
        and spec.dtype.is_integer
        and spec.shape.rank == 1
        and not spec.shape.is_fully_defined()
    )


@no_autograph
def _flattened(*element: Any) -> tuple[Any, ...]:
    return tuple(tf.nest.flatten(element))


@no_autograph
def _last_positions(positions: tf.Tensor, inputs: tuple[Any, ...]) -> tuple[tf.Tensor, tuple[Any, ...]]:
    return positions[-1], inputs


@no_autograph
def _without_features(after: tf.Tensor) -> tuple[tf.Tensor, sources.Features]:
    return after, {}


def _is_used(tensor: tf.Tensor, outputs: list[tf.Tensor]) -> bool:
    return bool(tensor.consumers()) or any(tensor is output for output in outputs)
