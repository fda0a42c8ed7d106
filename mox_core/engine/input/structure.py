"""The structure of inputs: `model_fn` sees what `input_fn` gave, the engine between them a flat list of tensors.

An input is a tensor, or a dict, tuple or list of inputs. A RaggedTensor, a SparseTensor or another composite tensor is
one leaf of that structure, and several tensors of the flat list: its components.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
import tensorflow as tf
from attrs import frozen

from mox_core.errors import UsageError
from mox_core.specs import InputSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_NOT_FED: Final = (tf.variant, tf.resource)


@frozen
class InputStructure:
    """The structure of the inputs of `model_fn`.

    Attributes:
        inputs: the specs of each input, in its structure.
        as_input_spec: whether `model_fn` is given a `mox.InputSpec`, and no list.
    """

    inputs: tuple[Any, ...]
    as_input_spec: bool = False

    @property
    def specs(self) -> list[tf.TensorSpec]:
        """The specs of the flat list."""
        return flat_tensors(self.inputs)

    def pack(self, tensors: Sequence[tf.Tensor]) -> list[Any]:
        """Return the inputs that the tensors of the flat list make up."""
        return list(tf.nest.pack_sequence_as(self.inputs, list(tensors), expand_composites=True))

    def for_model_fn(self, inputs: list[Any]) -> list[Any] | InputSpec:
        """Return packed inputs as `model_fn` is given them."""
        if not self.as_input_spec:
            return inputs
        spec = InputSpec()
        for each in inputs:
            spec.new_input(each)
        return spec

    def names(self) -> list[str]:
        """Return for each tensor of the flat list how `model_fn` gets at it: `inputs[0]['age']`, for instance."""
        return [
            name + part
            for number, each in enumerate(self.inputs)
            for name, leaf in named_leaves(each, _place(number, in_spec=self.as_input_spec))
            for part in _parts(leaf)
        ]

    def of_any_batch_size(self) -> InputStructure:
        """Return the structure of the same inputs in batches of any size."""
        return attrs.evolve(self, inputs=tf.nest.map_structure(_with_free_batch, self.inputs))


def flat_tensors(inputs: Any) -> list[Any]:
    """Return the tensors, or the specs, that inputs are made of, in the order of the flat list."""
    flat: list[Any] = tf.nest.flatten(inputs, expand_composites=True)
    return flat


def is_flat(inputs: Any) -> bool:
    """Whether specs are a tuple of dense tensors: a flat list already."""
    return type(inputs) is tuple and all(isinstance(each, tf.TensorSpec) for each in inputs)


def inputs_of(value: Any) -> list[Any]:
    """Return the inputs that a value of `input_fn` holds: those of an InputSpec, the parts of a list, or itself."""
    if isinstance(value, InputSpec):
        return list(value.inputs)
    return list(value) if isinstance(value, (list, tuple)) else [value]


def named_leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a structure in the order of `tf.nest.flatten`, each under the name of its place."""
    for key, part in _items_of(value):
        yield from named_leaves(part, name + key)
    if not tf.nest.is_nested(value):
        yield name, value


def as_inputs(returned: Any, mode: str) -> list[Any]:
    """Return the tensors that `input_fn` returned, in their structure.

    Raises:
        UsageError: if one is no tensor, with its place.
    """
    inputs, in_spec = inputs_of(returned), isinstance(returned, InputSpec)
    if not inputs and in_spec:
        raise UsageError(f"input_fn returned {returned!r} in mode {mode}: add what it gives by new_input([...]).")
    if not inputs:
        raise _refusal(returned, "inputs", mode)
    return [_as_tensors(each, _place(number, in_spec=in_spec), mode) for number, each in enumerate(inputs)]


def check_element_spec(spec: Any, mode: str) -> None:
    """Refuse a dataset with elements that no step can be fed.

    Raises:
        UsageError: with the place, and what to write.
    """
    if not tf.nest.flatten(spec):
        raise UsageError(f"the elements of the dataset of input_fn in mode {mode} hold no tensors: they are {spec!r}.")
    for number, each in enumerate(inputs_of(spec)):
        for name, leaf in named_leaves(each, f"inputs[{number}]"):
            if leaf.value_type.__name__ == "NoneTensor":  # that it is None itself, the class does not tell
                raise _refusal(None, name, mode)
            if isinstance(leaf, tf.data.DatasetSpec):
                raise UsageError(
                    f"{name} is itself a dataset in mode {mode}, as `window` makes them, and a model is fed tensors: "
                    "make one of each by dataset.flat_map(lambda window: window.batch(size)) in input_fn."
                )
            if any(part.dtype in _NOT_FED for part in flat_tensors(leaf)):
                raise UsageError(
                    f"{name} is a {leaf.value_type.__name__} in mode {mode}, and a model is fed tensors: take the "
                    "tensors out of it by dataset.map in input_fn."
                )


def batch_size_of(leaf: Any) -> Any:
    """Return how many samples a batch holds, int64 scalar: the size of the first dimension of one of its leaves.

    Args:
        leaf: a tensor or a composite tensor.

    Returns:
        None for a scalar, which tells nothing.
    """
    if leaf.shape.rank == 0:
        return None
    if (size := leaf.shape[0] if leaf.shape.rank else None) is not None:
        return tf.constant(size, tf.int64)
    if isinstance(leaf, tf.RaggedTensor):
        return leaf.nrows(tf.int64)
    if isinstance(leaf, tf.SparseTensor):
        return leaf.dense_shape[0]
    return tf.shape(leaf, tf.int64)[0] if leaf.shape.rank else None


def _place(number: int, *, in_spec: bool) -> str:
    """Return how `model_fn` gets at an input."""
    return f"inputs.get_input({number})" if in_spec else f"inputs[{number}]"


def _items_of(value: Any) -> Iterable[tuple[str, Any]]:
    """Return what is in a nest, each with what stands behind the name of the nest to get at it."""
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", value[key]) for key in sorted(value)]
    if isinstance(value, tuple) and (fields := getattr(value, "_fields", None)):
        return [(f".{key}", part) for key, part in zip(fields, value, strict=True)]
    if isinstance(value, (list, tuple)):
        return [(f"[{number}]", part) for number, part in enumerate(value)]
    if tf.nest.is_nested(value):  # an object of attrs
        return [(f".{each.name}", getattr(value, each.name)) for each in attrs.fields(type(value))]
    return []


def _as_tensors(value: Any, name: str, mode: str) -> Any:
    """Return one input with tensors for its leaves."""
    leaves = [(place, leaf) for place, leaf in named_leaves(value, name)]
    if not leaves or any(leaf is None for _, leaf in leaves):
        place = next((place for place, leaf in leaves if leaf is None), name)
        raise _refusal(None if leaves else value, place, mode)
    if isinstance(value, list) and not any(tf.is_tensor(leaf) or hasattr(leaf, "shape") for _, leaf in leaves):
        raise UsageError(
            f"input_fn returned {value!r} as {name} in mode {mode}: a list in it holds tensors, and arrives in "
            "model_fn as a list. For one tensor of these numbers, write tf.constant([...])."
        )
    return tf.nest.pack_sequence_as(value, [_as_tensor(leaf, place, mode) for place, leaf in leaves])


def _as_tensor(value: Any, name: str, mode: str) -> Any:
    if tf.is_tensor(value) and not isinstance(value, (tf.Tensor, tf.Variable)):
        return value  # ragged, sparse
    try:
        return tf.convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        raise _refusal(value, name, mode) from error


def _refusal(value: Any, name: str, mode: str) -> UsageError:
    if value is None:
        return UsageError(
            f"input_fn gives None for {name} in mode {mode}, and a step is fed tensors: leave it out, in what input_fn "
            "returns or by dataset.map(lambda x, _: x), and let model_fn tell the modes apart."
        )
    return UsageError(
        f"input_fn returned {value!r} for {name} in mode {mode}. It returns a tensor, a tuple or list of tensors, or a "
        "tf.data.Dataset; each of the tensors may also be a dict, a tuple, a list, a RaggedTensor or a SparseTensor."
    )


def _parts(leaf: Any) -> list[str]:
    """Return what stands behind the name of a leaf to get at each of its tensors."""
    if leaf.value_type is tf.RaggedTensor and leaf.ragged_rank:
        return [".flat_values", *(f".nested_row_splits[{number}]" for number in range(leaf.ragged_rank))]
    if isinstance(leaf, tf.SparseTensorSpec):
        return [".indices", ".values", ".dense_shape"]
    return [""] * len(flat_tensors(leaf))


def _with_free_batch(spec: Any) -> Any:
    if spec.value_type is tf.RaggedTensor:
        return tf.RaggedTensorSpec(
            [None, *spec.shape[1:]], spec.dtype, spec.ragged_rank, spec.row_splits_dtype, spec.flat_values_spec
        )
    if isinstance(spec, tf.SparseTensorSpec):
        return tf.SparseTensorSpec([None, *spec.shape[1:]], spec.dtype)
    if isinstance(spec, tf.TensorSpec):
        return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)
    return spec
