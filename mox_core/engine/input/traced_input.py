"""`input_fn` as a graph, and the elements that it makes of its sources."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import tensorflow as tf
from attrs import frozen

from mox_core.engine import randomness
from mox_core.engine.input.crop_fusion import MADE, FusedCrop, find_crop
from mox_core.engine.input.dataset_source import DatasetSource, worker_share
from mox_core.engine.input.epochs import ONE_BY_ONE
from mox_core.engine.input.input_state import Effects, effects_of, run_once
from mox_core.engine.input.input_trace import tracing
from mox_core.engine.input.outside_datasets import take_order_of_run
from mox_core.engine.input.scaled_crop import ScaledCrop, find_scaled_crop
from mox_core.engine.input.structure import as_inputs, check_element_spec, flat_tensors, inputs_of
from mox_core.engine.input.unplaced import warn_of_unplaced
from mox_core.engine.tensors import Features, no_autograph
from mox_core.engine.tf_internals import func_graph
from mox_core.engine.tf_internals.expected_warnings import ignore_seed_of_graph
from mox_core.errors import UsageError
from mox_core.modes import ModeKeys
from mox_core.specs import InputSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.engine.input.bad_samples import BadSampleReport
    from mox_core.engine.input.order import Order
    from mox_core.engine.tensors import Dataset


@frozen(kw_only=True)
class TracedInput:
    """`input_fn` as a graph.

    Attributes:
        function: returns what it returned; `prune` cuts functions of the placeholders out of it.
        position: the placeholder of the position from which random operations take their seeds.
        sources: what it reads, each with the placeholders of its features.
        spec: the elements of the dataset that it returned; None where it returned tensors.
        returned: that dataset itself.
        returns_arrays: whether it returned arrays of NumPy.
        effects: its operations that are there for what they do.
        inputs: the specs of one sample, or of a whole batch, in the structure in which `model_fn` gets its inputs.
        input_spec: the `mox.InputSpec` that it returned; None for anything else.
    """

    function: Any
    position: tf.Tensor
    sources: list[tuple[Any, Features]]
    spec: Any
    returned: Dataset | None
    returns_arrays: bool
    inputs: list[Any]
    input_spec: InputSpec | None
    effects: Effects

    @property
    def is_dataset(self) -> bool:
        """Whether it returned a dataset of its own."""
        return self.spec is not None

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """The sizes of the blocks in the order of its sources, see `SampleSource.block_sizes`."""
        return tuple(size for source, _ in self.sources for size in getattr(source, "block_sizes", ()))

    def in_blocks(self, sizes: Sequence[int]) -> TracedInput:
        """Return it with its sources in the order of a run of which `block_sizes` are known.

        Args:
            sizes: the sizes, or none where every epoch was one permutation. Those of other sources have no effect.
        """
        own = [len(getattr(source, "block_sizes", ())) for source, _ in self.sources]
        if sizes and len(sizes) != sum(own):
            return self  # the input begins anew
        left = iter(sizes or [ONE_BY_ONE] * sum(own))
        sources = [
            (source.in_blocks(list(itertools.islice(left, number))) if number else source, features)
            for (source, features), number in zip(self.sources, own, strict=True)
        ]
        return attrs.evolve(self, sources=sources)

    def datasets(self) -> list[Dataset]:
        """Return the user's own datasets that it reads."""
        if self.is_dataset:
            return [tf.data.experimental.from_variant(self.function()[0], self.spec)]
        return [source.dataset() for source, _ in self.sources if isinstance(source, DatasetSource)]


def trace_input_fn(input_fn: Callable[..., Any], mode: str, seed: int) -> TracedInput:
    """Call `input_fn` in a graph.

    Raises:
        UsageError: if it returns what cannot be an input.
    """
    made: dict[str, Any] = {"spec": None, "returned": None, "returns_arrays": False, "input_spec": None}

    def body() -> list[tf.Tensor]:
        graph = tf.compat.v1.get_default_graph()
        made["position"] = tf.compat.v1.placeholder(tf.int64, [], name="position")
        tf.compat.v1.set_random_seed(seed)  # of this graph: what `Dataset.shuffle` in it goes by
        with tracing(graph) as trace, randomness.seeded(f"{seed}/{mode}/input", made["position"], graph=graph):
            result = input_fn(mode)
        if isinstance(result, tf.data.Dataset):
            check_element_spec(result.element_spec, mode)
            trace.datasets.append(result)
            made["returned"], made["spec"], made["inputs"] = result, result.element_spec, inputs_of(result.element_spec)
            outputs = [tf.identity(tf.data.experimental.to_variant(result))]
        else:
            inputs = as_inputs(result, mode)
            made["input_spec"] = result if isinstance(result, InputSpec) else None
            made["returns_arrays"] = any(isinstance(each, np.ndarray) for each in tf.nest.flatten(inputs_of(result)))
            made["inputs"] = tf.nest.map_structure(tf.type_spec_from_value, inputs)
            outputs = flat_tensors(inputs)
        fed = [made["position"], *(tensor for _, features in trace.sources for tensor in features.values())]
        results = [*outputs, *trace.made_datasets()]
        made["sources"], made["effects"] = trace.sources, effects_of(graph, results, fed)
        warn_of_unplaced(graph, results, trace, training=mode == ModeKeys.TRAIN)
        if mode == ModeKeys.TRAIN:  # other modes are not resumed
            take_order_of_run(graph, trace, seed)
        return outputs

    with randomness.python_random(f"{seed}/{mode}/input"), ignore_seed_of_graph():
        function = tf.compat.v1.wrap_function(body, [])
    _check_no_iterator(function.graph)
    for source, _ in made["sources"]:
        if isinstance(source, DatasetSource):
            source.traced = function
    run_once(function, made["effects"])
    return TracedInput(function=function, **made)


def _check_no_iterator(graph: tf.Graph) -> None:
    """Refuse an iterator that was made outside: samples are made in parallel, which would read it in any order."""
    if any(op.type.startswith("IteratorGetNext") for op in graph.get_operations()):
        raise UsageError(
            "input_fn reads an iterator that was made outside of it: its elements would be in no order, and a resumed "
            "run would not find its place. Read the dataset itself: mox.get_next(dataset), or return dataset."
        )


def open_samples(
    traced: TracedInput, order: Order, report: BadSampleReport, start: tuple[int, ...], *, fused: bool = True
) -> Dataset:
    """Map the operations of `input_fn` over its sources: returns (positions, leaves of the inputs).

    Args:
        traced: `input_fn`.
        order: the share of the worker.
        report: the report of bad samples.
        start: the first position of each source.
        fused: whether an image is only decoded as far as `input_fn` crops it.
    """
    crop = crop_of(traced) if fused else None
    if crop is not None:
        return _open_cropped(traced, crop, order, report, start)
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


def crop_of(traced: TracedInput) -> FusedCrop | None:
    """Return the crop of `input_fn` with which images are decoded; None where it needs whole ones."""
    if traced.is_dataset or len(traced.sources) != 1:
        return None
    source, features = traced.sources[0]
    if not getattr(source, "encoded", False) or not source.can_crop:
        return None
    if source.transform is not None or source.batch_size is not None:
        return None
    used: list[tf.Tensor | tf.Operation] = [*func_graph.outputs(traced.function.graph), *traced.effects.each]
    crop = find_crop(traced.function, traced.position, features, used)
    return crop if crop is None or not getattr(source, "dct_scaling", False) else find_scaled_crop(crop, used)


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


def _open_cropped(
    traced: TracedInput, crop: FusedCrop, order: Order, report: BadSampleReport, start: tuple[int, ...]
) -> Dataset:
    """Do what `open_samples` does with images of which only the crop is decoded."""
    ((source, features),) = traced.sources
    outputs = func_graph.outputs(traced.function.graph)
    needed = [name for name, tensor in features.items() if is_used(tensor, outputs)]
    rest = crop.outputs(outputs, traced.effects.each, needed)
    samples = source.elements(
        order=order, start=start[0], needed=frozenset(needed) | MADE, report=report, decode=crop.decoded
    )

    @no_autograph
    def apply(after: tf.Tensor, features: Features) -> tuple[tuple[tf.Tensor, ...], tuple[Any, ...]]:
        return (after,), _inputs(traced, rest(order.seed_at(after), features))

    return samples.map(apply, num_parallel_calls=tf.data.AUTOTUNE)


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


def is_used(tensor: tf.Tensor, outputs: list[tf.Tensor]) -> bool:
    """Return whether `input_fn` does something with a tensor, or returns it."""
    return bool(tensor.consumers()) or any(tensor is output for output in outputs)
