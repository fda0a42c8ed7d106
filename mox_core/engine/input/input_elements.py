"""The elements of an input: what `input_fn` makes of its sources, or the dataset that it returned."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

import tensorflow as tf

from mox_core.engine.input.crop_fusion import MADE, FusedCrop, find_crop
from mox_core.engine.input.dataset_source import DatasetSource, worker_share
from mox_core.engine.input.image_decoding import decoded
from mox_core.engine.input.sample_source import SampleSource
from mox_core.engine.input.scaled_crop import ScaledCrop, find_scaled_crop
from mox_core.engine.input.traced_input import is_used
from mox_core.engine.tensors import PYTHON_OPS, READABLE, Features, no_autograph, op_types, zeros_of_spec
from mox_core.engine.tf_internals import func_graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_core.engine.input.bad_samples import BadSampleReport
    from mox_core.engine.input.order import Order
    from mox_core.engine.input.traced_input import TracedInput
    from mox_core.engine.tensors import Dataset

    _Change = Callable[[Features, tf.Tensor], Features]
    _Make = Callable[[Features, tf.Tensor], list[tf.Tensor]]


def open_samples(
    traced: TracedInput, order: Order, report: BadSampleReport, start: tuple[int, ...], *, fused: bool = False
) -> Dataset:
    """Map the operations of `input_fn` over its sources: returns (positions, leaves of the inputs).

    Args:
        traced: `input_fn`.
        order: the share of the worker.
        report: the report of bad samples.
        start: the first position of each source.
        fused: whether `input_fn` works on a sample where it is read; only where it can, see `is_fused`.
    """
    if fused:
        return _open_fused(traced, order, report, start)
    fed = [traced.position]
    datasets = []
    outputs = func_graph.outputs(traced.function.graph)
    for number, ((source, features), position) in enumerate(zip(traced.sources, start, strict=False)):
        needed = [name for name, tensor in features.items() if is_used(tensor, outputs)]
        own = order.of_source(number)
        datasets.append(source.elements(order=own, start=position, needed=frozenset(needed), report=report))
        fed += [features[name] for name in sorted(needed)]
    if not datasets:
        positions = tf.data.Dataset.range(start[0] + order.workers, tf.int64.max, order.workers)
        datasets.append(positions.map(_without_features))
    function = traced.function.prune(fed, [*outputs, *traced.effects.each])

    @no_autograph
    def apply(*elements: tuple[tf.Tensor, Features]) -> tuple[tuple[tf.Tensor, ...], tuple[Any, ...]]:
        positions = tuple(after for after, _ in elements)
        values = [features[name] for _, features in elements for name in sorted(features)]
        tensors = list(function(order.seed_at(tf.reshape(positions[0], [-1])[-1]), *values))[: len(outputs)]
        return positions, _inputs(traced, tensors)

    return tf.data.Dataset.zip(tuple(datasets)).map(apply, num_parallel_calls=tf.data.AUTOTUNE)


def is_fused(traced: TracedInput) -> bool:
    """Whether `input_fn` can work on samples where they are read.

    An error of it leaves a gap in the positions then, as that of a bad sample does, and `BadSampleReport.why_failed`
    tells the two apart. Not so where it does more than to compute, which would be done once more to find that out.
    """
    return _is_alone(traced) and (_only_computes(traced) or crop_of(traced) is not None)


def _is_alone(traced: TracedInput) -> bool:
    """Whether `input_fn` gets single samples of one source, without anything in between."""
    if traced.is_dataset or len(traced.sources) != 1:
        return False
    source = traced.sources[0][0]
    return isinstance(source, SampleSource) and source.can_fuse and not (source.transform or source.batch_size)


def _only_computes(traced: TracedInput) -> bool:
    """Whether `input_fn` makes dense tensors of a sample, and does nothing else with it but to check it."""
    is_dense = all(isinstance(spec, tf.TensorSpec) for spec in tf.nest.flatten(traced.inputs))
    checks = all(op.type == "Assert" for op in traced.effects.each)
    return is_dense and checks and PYTHON_OPS.isdisjoint(op_types(traced.function.graph.as_graph_def()))


def crop_of(traced: TracedInput) -> FusedCrop | None:
    """Return the crop of `input_fn` with which images are decoded; None where it needs whole ones."""
    if not _is_alone(traced) or not traced.sources[0][0].encoded:
        return None
    source, features = traced.sources[0]
    used: list[tf.Tensor | tf.Operation] = [*func_graph.outputs(traced.function.graph), *traced.effects.each]
    crop = find_crop(traced.function, traced.position, features, used)
    return crop if crop is None or not source.dct_scaling else find_scaled_crop(crop, used)


def warn_of_no_scaling(traced: TracedInput, mode: str) -> None:
    """Warn where images cannot be decoded smaller, though a data set should have them so."""
    asked = [source for source, _ in traced.sources if getattr(source, "dct_scaling", False)]
    if asked and not isinstance(crop_of(traced), ScaledCrop):
        tf.get_logger().warning(
            "dct_scaling has no effect in mode %s: images are decoded smaller where input_fn uses them by their shape "
            "and one crop, image[a:b, c:d] or of a computed size, and resizes that bilinearly (tf.image.resize), as "
            "mox.get_data_augmentation_fn of the vgg scheme does, after no other operations than casts to floating "
            "point and arithmetic in it; without augmentation_fn, image_size, preprocess_fn and batch_size of the data "
            "set.",
            mode,
        )


def _open_fused(traced: TracedInput, order: Order, report: BadSampleReport, start: tuple[int, ...]) -> Dataset:
    """Do what `open_samples` does in the map that reads samples; at least the decoding, where that knows the crop."""
    source, needed, decode, make = _parts_of_sample(traced)
    elements = functools.partial(source.elements, order=order, start=start[0], report=report)

    @no_autograph
    def apply(after: tf.Tensor, features: Features) -> tuple[tuple[tf.Tensor, ...], tuple[Any, ...]]:
        return (after,), _inputs(traced, make(features, order.seed_at(after)))

    if not _only_computes(traced):
        return elements(needed=needed, then=decode).map(apply, num_parallel_calls=tf.data.AUTOTUNE)

    def then(features: Features, seed: tf.Tensor) -> Features:
        features = decode(features, seed)
        if READABLE not in features:
            return DatasetSource.named(_inputs(traced, make(features, seed)))
        nothing = lambda: list(map(zeros_of_spec, func_graph.outputs(traced.function.graph)))  # noqa: E731
        tensors = tf.cond(features[READABLE], lambda: make(features, seed), nothing)
        return {**DatasetSource.named(_inputs(traced, tensors)), READABLE: features[READABLE]}

    samples = elements(needed=None, then=then)
    after, inputs = cast("Any", samples.element_spec)
    # The same tensors in another structure, without a map of each sample.
    spec = ((after,), tuple(inputs[name] for name in sorted(inputs)))
    return tf.data.experimental.from_variant(tf.data.experimental.to_variant(samples), spec)


def _parts_of_sample(traced: TracedInput) -> tuple[SampleSource, frozenset[str], _Change, _Make]:
    """Return the source, the names of the features that are needed, how images are decoded, and what `input_fn` makes.

    The last two are functions of (features, seed of their position).
    """
    ((source, placeholders),) = traced.sources
    outputs = func_graph.outputs(traced.function.graph)
    needed = sorted(name for name, tensor in placeholders.items() if is_used(tensor, outputs))
    crop = crop_of(traced)
    if crop is not None:
        run = crop.outputs(outputs, traced.effects.each, needed)
        return source, frozenset(needed) | MADE, crop.decoded, lambda features, seed: run(seed, features)
    fed = [traced.position, *(placeholders[name] for name in needed)]
    function = traced.function.prune(fed, [*outputs, *traced.effects.each])

    def make(features: Features, seed: tf.Tensor) -> list[tf.Tensor]:
        return list(function(seed, *(features[name] for name in needed)))[: len(outputs)]

    decode = decoded if source.encoded else dict
    return source, frozenset(needed), lambda features, _: decode(features), make


def _inputs(traced: TracedInput, tensors: list[tf.Tensor]) -> tuple[Any, ...]:
    """Return what `input_fn` returned as leaves of the inputs."""
    for tensor, original in zip(tensors, func_graph.outputs(traced.function.graph), strict=True):
        tensor.set_shape(original.shape)  # pruning forgets what input_fn set itself
    inputs = tf.nest.pack_sequence_as(traced.inputs, tensors, expand_composites=True)
    return tuple(tf.nest.flatten(inputs))


def open_dataset(traced: TracedInput, order: Order, start: tuple[int, ...]) -> Dataset:
    """Return the dataset that `input_fn` returned, from a position on."""
    (whole,) = traced.datasets()
    return worker_share(whole, order, start[0])


@no_autograph
def _without_features(after: tf.Tensor) -> tuple[tf.Tensor, Features]:
    return after, {}
