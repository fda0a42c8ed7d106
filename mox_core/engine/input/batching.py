"""How single elements become batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import frozen

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


def make_batches(elements: Dataset, size: int, *, whole: bool) -> Dataset:
    """Batch elements that are inputs, or (positions, inputs). Sequences of integers are padded with zeros.

    A sequence has rank 1 and an unknown length: a name as numbers, or words. All else must be of one shape.

    Args:
        elements: the elements.
        size: samples in a batch.
        whole: whether a last batch of fewer samples is left out.
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
def last_positions(positions: tf.Tensor, inputs: tuple[Any, ...]) -> tuple[tf.Tensor, tuple[Any, ...]]:
    """Return the last of the positions of a batch, and its inputs."""
    return positions[-1], inputs
