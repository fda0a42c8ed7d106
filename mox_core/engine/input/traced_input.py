"""`input_fn` as a graph."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import tensorflow as tf
from attrs import frozen

from mox_core.engine import randomness
from mox_core.engine.input.dataset_source import DatasetSource
from mox_core.engine.input.epochs import ONE_BY_ONE
from mox_core.engine.input.input_state import Effects, effects_of, run_once
from mox_core.engine.input.input_trace import tracing
from mox_core.engine.input.outside_datasets import take_order_of_run
from mox_core.engine.input.structure import as_inputs, check_element_spec, flat_tensors, inputs_of
from mox_core.engine.input.unplaced import warn_of_unplaced
from mox_core.engine.tf_internals.expected_warnings import ignore_seed_of_graph
from mox_core.errors import UsageError
from mox_core.modes import ModeKeys
from mox_core.specs import InputSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.engine.tensors import Dataset, Features


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


def is_used(tensor: tf.Tensor, outputs: list[tf.Tensor]) -> bool:
    """Return whether `input_fn` does something with a tensor, or returns it."""
    return bool(tensor.consumers()) or any(tensor is output for output in outputs)
