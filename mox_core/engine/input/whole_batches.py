"""Batches made many samples at a time, where nothing that `input_fn` does needs a sample alone.

Where reading does not need it either, a pack of samples is read, made into features and handed through the operations
of `input_fn` as a whole, and packs are cut into batches. Else samples are read alone, and `input_fn` gets batches.
Samples that cannot be read are found by the positions that are missing, as elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import frozen

from mox_core.engine.input.gathered_batches import NO_END, GatheredBatches
from mox_core.engine.input.packs import pack_size, read_packs
from mox_core.engine.input.row_functions import all_by_rows, on_rows, rows_of
from mox_core.engine.input.sample_source import SampleSource
from mox_core.engine.input.traced_input import is_used
from mox_core.engine.tensors import READABLE, ancestors, no_autograph
from mox_core.engine.tf_internals import func_graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_core.engine.input.bad_samples import BadSampleReport
    from mox_core.engine.input.order import Order
    from mox_core.engine.input.traced_input import TracedInput
    from mox_core.engine.tensors import Dataset, Features


@frozen(kw_only=True)
class WholeBatches:
    """An input whose samples go to their batches many at a time.

    Attributes:
        source: what it reads.
        names: the names of the features that are used, sorted.
        fetch: function of indices and contents that returns the features of many samples; None where the source gives
            them one by one, and they are put together before `input_fn` works on them.
        apply: function of these features, in the order of their names, that returns the inputs.
    """

    source: SampleSource
    names: tuple[str, ...]
    fetch: Callable[..., Features] | None
    apply: Callable[..., list[tf.Tensor]]

    def batches(
        self,
        size: int,
        *,
        order: Order,
        report: BadSampleReport,
        start: Any,
        whole: bool,
        watch: Callable[[Dataset], Dataset],
    ) -> Dataset:
        """Return (position, inputs) of batches, each tensor of the inputs with a row for each sample.

        Args:
            size: samples in a batch.
            order: the share of the worker.
            report: the report of bad samples.
            start: the first position.
            whole: whether a last batch of fewer samples is left out.
            watch: reports the gaps in the positions of batches, and leaves the last position of each.
        """
        if self.fetch is None:
            batches = watch(self._of_samples(size, order, report, start))
        else:
            batches = watch(self._of_packs(self.fetch, size, order, report, start))
        if not whole:
            return batches
        if self.source.end is not None:  # left out behind the watch: a bad sample among the last ones is reported too
            is_whole: Any = no_autograph(lambda _, inputs: tf.shape(inputs[0])[0] == size)
            batches = batches.filter(is_whole)
        spec: Any = batches.element_spec
        inputs = tuple(tf.TensorSpec([size, *each.shape[1:]], each.dtype) for each in spec[-1])
        return tf.data.experimental.from_variant(tf.data.experimental.to_variant(batches), (spec[0], inputs))

    def _of_samples(self, size: int, order: Order, report: BadSampleReport, start: Any) -> Dataset:
        """Return ((positions,), inputs) of batches of samples that are fetched one by one."""

        @no_autograph
        def make(afters: tf.Tensor, features: Features) -> Any:
            return (afters,), tuple(self.apply(*(features[name] for name in self.names)))

        samples = self.source.elements(order=order, start=start, needed=frozenset(self.names), report=report)
        return samples.batch(size).map(make, num_parallel_calls=tf.data.AUTOTUNE)

    def _of_packs(
        self, fetch: Callable[..., Features], size: int, order: Order, report: BadSampleReport, start: Any
    ) -> Dataset:
        """Return ((positions,), inputs) of batches of samples that are fetched many at a time."""
        source = self.source
        stop = NO_END if source.end is None else source.end - order.worker
        packs = read_packs(
            source.epochs(order.seed),
            source.blocks,
            first=start,
            stop=stop,
            order=order,
            size=pack_size(size, source.blocks),
        )
        made = packs.map(self._make(fetch, order), num_parallel_calls=tf.data.AUTOTUNE)
        return self._watched(made, order, report, start, stop).rebatch(size)

    def _make(self, fetch: Callable[..., Features], order: Order) -> Callable[..., Any]:
        """Return the function from the contents of a pack to its inputs."""

        @no_autograph
        def one(position: tf.Tensor, index: tf.Tensor, *content: tf.Tensor) -> tuple[tf.Tensor, Features]:
            features = self.source.fetch(index, *content)
            return position, {name: features[name] for name in self.names}

        @no_autograph
        def many(positions: tf.Tensor, *sample: tf.Tensor) -> tuple[tf.Tensor, Features]:
            return positions, fetch(*sample)

        @no_autograph
        def make(
            until: tf.Tensor, positions: tf.Tensor, indices: tf.Tensor, contents: Any
        ) -> tuple[tf.Tensor, tf.Tensor, Any]:
            rows = (positions, indices, *contents)
            together = tf.data.Dataset.from_tensors(rows).map(many)
            # One that cannot be read fails all of its pack, whose samples are then made one by one.
            most = tf.maximum(tf.size(positions, tf.int64), 1)
            apart = tf.data.Dataset.from_tensor_slices(rows).map(one).ignore_errors().batch(most)
            none = tf.data.Dataset.from_tensors(_no_rows(together.element_spec))
            found, features = together.ignore_errors().concatenate(apart).concatenate(none).take(1).get_single_element()
            inputs = self.apply(*(features[name] for name in self.names))
            return until, found + order.workers, tuple(inputs)

        return make

    def _watched(self, packs: Dataset, order: Order, report: BadSampleReport, start: Any, stop: Any) -> Dataset:
        """Return (positions, inputs) of packs, and look at what is missing where no later sample shows it.

        That is at the end, and where a whole epoch is missing: the input would go round for ever.
        """
        step, first = order.workers, tf.cast(tf.convert_to_tensor(start), tf.int64)
        epoch = -(-self.source.num_samples // step) * step

        @no_autograph
        def watch(reached: tf.Tensor, pack: tuple[tf.Tensor, tf.Tensor, Any]) -> Any:
            until, afters, inputs = pack
            read = tf.concat([[reached], afters], 0)[-1]
            missing = until - read
            at_end = until >= stop

            def samples() -> Dataset:
                return self.source.samples(read, until, self.source.fetcher(order, frozenset(self.names)), order)

            def look() -> tf.Tensor:
                return report.tail_op(self.source, order, read, until, samples)

            looked = tf.cond((missing >= epoch) | (at_end & (missing > 0)), look, lambda: False)
            with tf.control_dependencies([looked]):
                return tf.identity(read), (afters, inputs)

        scanned: Any = packs.scan(first, watch)
        return scanned.map(no_autograph(lambda afters, inputs: ((afters,), inputs)))


def whole_batches(traced: TracedInput) -> WholeBatches | GatheredBatches | None:
    """Return how an input goes to its batches many samples at a time; None where they go alone."""
    if traced.is_dataset or len(traced.sources) != 1 or traced.effects.each:
        return None
    source, features = traced.sources[0]
    outputs = func_graph.outputs(traced.function.graph)
    names = tuple(sorted(name for name, tensor in features.items() if is_used(tensor, outputs)))
    if not names or not isinstance(source, SampleSource) or source.batch_size or not _all_dense(traced):
        return None
    given = [features[name] for name in names]
    if not _by_rows(traced, given, outputs):
        return None
    apply = _apply(traced, given, outputs)
    if apply is None:
        return None
    if source.fetch_many is not None and source.transform is None:
        specs = {name: tf.TensorSpec(features[name].shape, features[name].dtype) for name in names}
        return GatheredBatches(source=source, specs=specs, apply=apply)
    fetch = _fetch_of_rows(source, names) if _reads_many(source) else None
    return WholeBatches(source=source, names=names, fetch=fetch, apply=apply)


def _by_rows(traced: TracedInput, given: list[tf.Tensor], outputs: list[tf.Tensor]) -> bool:
    """Whether `input_fn` makes its outputs of samples of known shapes, and of nothing else, by rows."""
    if any(op.name == traced.position.op.name for op in ancestors(outputs, given=given)):
        return False
    return all(tensor.shape.is_fully_defined() for tensor in given) and all_by_rows(outputs, given)


def _reads_many(source: SampleSource) -> bool:
    """Whether nothing has to be done to, or fetched for, samples one by one. A subclass may read in its own way."""
    return type(source) is SampleSource and not (source.transform or source.read_ahead or source.encoded)


def _all_dense(traced: TracedInput) -> bool:
    return all(isinstance(spec, tf.TensorSpec) for spec in tf.nest.flatten(traced.inputs))


def _fetch_of_rows(source: SampleSource, names: tuple[str, ...]) -> Callable[..., Features] | None:
    """Return the function of indices and contents that returns features of many samples, where there is one.

    There is none where the source marks bad samples by READABLE: they are left out one by one.
    """
    marks_bad_samples = False

    def fetch(index: tf.Tensor, *content: tf.Tensor) -> Features:
        nonlocal marks_bad_samples
        features = source.fetch(index, *content)
        marks_bad_samples = READABLE in features
        return {name: features[name] for name in names}

    specs = [tf.TensorSpec([], tf.int64)]
    with tf.init_scope():
        if source.blocks is not None:
            specs += source.blocks.contents
        by_rows = on_rows(fetch, specs)
        return None if marks_bad_samples else by_rows


def _apply(
    traced: TracedInput, given: list[tf.Tensor], outputs: list[tf.Tensor]
) -> Callable[..., list[tf.Tensor]] | None:
    """Return what `input_fn` does to the features of many samples, where that is known."""
    places = {tensor.name: place for place, tensor in enumerate(given)}
    origins = [places.get(_origin(output).name) for output in outputs]
    made = [output for output, origin in zip(outputs, origins, strict=True) if origin is None]
    function = None
    if made:
        with tf.init_scope():
            specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in given]
            function = rows_of(traced.function.prune(given, made), specs)
        if function is None:
            return None

    def apply(*features: tf.Tensor) -> list[tf.Tensor]:
        results = function(*features) if function else []
        for result, output in zip(results, made, strict=True):
            result.set_shape([None, *output.shape])  # a reshape of rows is only known when it runs
        left = iter(results)
        return [next(left) if origin is None else features[origin] for origin in origins]

    return apply


def _origin(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


def _no_rows(spec: Any) -> tf.Tensor:
    return tf.nest.map_structure(lambda each: tf.zeros([0, *each.shape[1:]], each.dtype), spec)
