"""Batches of samples that lie in memory: each is gathered at once, in the order of the run.

No sample can fail here, so there is nothing to watch for, and where a batch begins is known before it is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import frozen

from mox_core.engine.input.tuning import untuned
from mox_core.engine.tensors import no_autograph

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_core.engine.input.order import Order
    from mox_core.engine.input.sample_source import SampleSource
    from mox_core.engine.tensors import Dataset, Features

_BATCHES: Final = 64
_BYTES: Final = 2**20
"""How many batches are gathered at a time at most, and how many bytes, if they are more than one batch: what tf.data
does for each element costs as much as a small batch itself."""
NO_END: Final = 2**62
"""The position where an input ends that has no end."""


@frozen(kw_only=True)
class GatheredBatches:
    """An input whose batches are gathered.

    Attributes:
        source: what it reads.
        specs: the specs of the features that are used, by name.
        apply: function of these features of many samples, in the order of their names, that returns the inputs.
    """

    source: SampleSource
    specs: dict[str, tf.TensorSpec]
    apply: Callable[..., list[tf.Tensor]]

    def batches(self, size: int, *, order: Order, start: Any, whole: bool) -> Dataset:
        """Return (position, inputs) of batches, each tensor of the inputs with a row for each sample.

        Args:
            size: samples in a batch.
            order: the share of the worker.
            start: the first position.
            whole: whether a last batch of fewer samples is left out.
        """
        first = tf.cast(tf.convert_to_tensor(start), tf.int64)
        stride = size * order.workers
        stop = NO_END if self.source.end is None else self.source.end - order.worker
        samples = tf.maximum(stop - first + order.workers - 1, 0) // order.workers
        batches = samples // size
        together = self._together(size)

        @no_autograph
        def gathered(number: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
            many = tf.minimum(batches - number, together) if together > 1 else tf.constant(1, tf.int64)
            begin = first + number * stride
            inputs = self._inputs(begin + tf.range(many * size) * order.workers, order)
            afters = begin + (1 + tf.range(many)) * stride
            return afters[:, tf.newaxis], tuple(tf.reshape(each, [-1, size, *each.shape[1:]]) for each in inputs)

        @no_autograph
        def rest(_number: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
            begin, left = first + batches * stride, samples - batches * size
            inputs = self._inputs(begin + tf.range(left) * order.workers, order)
            return (begin + left * order.workers)[tf.newaxis], tuple(inputs)

        full = tf.data.Dataset.range(0, batches, together).map(gathered, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
        if not whole:
            full = full.concatenate(tf.data.Dataset.range(tf.math.sign(samples - batches * size)).map(rest))
        return untuned(full) if self.is_ahead(size) else full

    def is_ahead(self, size: int) -> bool:
        """Whether many batches lie ready while one is trained on, so that nothing else has to make them in time.

        Args:
            size: samples in a batch.
        """
        return self._together(size) > 1

    def _together(self, size: int) -> int:
        """Return how many batches are gathered at a time."""
        row = sum((spec.shape.num_elements() or 0) * max(spec.dtype.size, 1) for spec in self.specs.values())
        return min(max(_BYTES // (size * max(row, 1)), 1), _BATCHES)

    def _inputs(self, positions: tf.Tensor, order: Order) -> list[tf.Tensor]:
        """Return the inputs of the samples at some positions of this worker."""
        assert self.source.fetch_many is not None  # noqa: S101  (for type checkers: only such sources come here)
        features: Features = self.source.fetch_many(self.source.index_at(positions, order))
        return self.apply(*(features[name] for name in sorted(self.specs)))
