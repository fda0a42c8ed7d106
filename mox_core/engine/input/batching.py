"""How single elements become batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import frozen

from mox_core.engine.input.structure import flat_tensors, is_flat
from mox_core.engine.tensors import no_autograph

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_core.engine.tensors import Dataset


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


def make_batches(elements: Dataset, size: int, *, counted: bool, whole: bool) -> Dataset:
    """Batch elements that are inputs, or (positions, inputs). Sequences of integers are padded with zeros.

    A sequence has rank 1 and an unknown length: a name as numbers, or words. All else must be of one shape.

    Args:
        elements: the elements.
        size: samples in a batch.
        counted: whether positions are counted elsewhere, and elements are inputs.
        whole: whether a last batch of fewer samples is left out.
    """
    is_sequence = tf.nest.map_structure(_is_sequence, inputs_spec(elements, counted=counted))
    if not any(tf.nest.flatten(is_sequence)):
        return elements.batch(size, drop_remainder=whole)

    def on_sequences(change: Callable[[Any], Any]) -> Callable[..., Any]:
        def change_some(inputs: Any) -> Any:
            chosen = lambda value, is_one: change(value) if is_one else value  # noqa: E731  (of one line)
            return tf.nest.map_structure(chosen, inputs, is_sequence)

        return _on_inputs(change_some, elements, counted=counted)

    def padded(ragged: tf.RaggedTensor) -> tf.Tensor:
        tensor = ragged.merge_dims(0, 1).to_tensor()
        tensor.set_shape([size if whole else None, None])
        return tensor

    as_ragged = tf.RaggedTensor.from_tensor  # type: ignore[attr-defined]  # not in the stubs
    rows = elements.map(on_sequences(lambda sequence: as_ragged(sequence[tf.newaxis])))
    return rows.batch(size, drop_remainder=whole).map(on_sequences(padded))


def inputs_spec(elements: Dataset, *, counted: bool) -> Any:
    """Return the specs of the inputs in the elements of a dataset; `counted` as in `make_batches`."""
    spec: Any = elements.element_spec
    return spec if counted else spec[-1]


def flat_batches(batches: Dataset, *, counted: bool) -> Dataset:
    """Return batches whose inputs are a tuple of tensors, whatever their structure; `counted` as in `make_batches`."""
    if is_flat(inputs_spec(batches, counted=counted)):
        return batches
    return batches.map(_on_inputs(lambda inputs: tuple(flat_tensors(inputs)), batches, counted=counted))


def _on_inputs(change: Callable[[Any], Any], elements: Dataset, *, counted: bool) -> Callable[..., Any]:
    """Return a function of the elements that changes their inputs; a plain tuple comes as several arguments."""
    alone = type(elements.element_spec) is not tuple

    @no_autograph
    def call(*element: Any) -> Any:
        if not counted:
            return (*element[:-1], change(element[-1]))
        return change(element[0] if alone else element)

    return call


def _is_sequence(spec: Any) -> bool:
    return (
        isinstance(spec, tf.TensorSpec)
        and spec.dtype.is_integer
        and spec.shape.rank == 1
        and not spec.shape.is_fully_defined()
    )


@no_autograph
def last_positions(positions: tf.Tensor, inputs: tuple[Any, ...]) -> tuple[tf.Tensor, tuple[Any, ...]]:
    """Return the last of the positions of a batch, and its inputs."""
    return positions[-1], inputs
