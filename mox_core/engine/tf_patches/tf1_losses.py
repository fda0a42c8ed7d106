"""`tf.compat.v1.losses.get_total_loss` where losses are of several types, as with half precision beside float32."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import frozen

# The functions of `tf.compat.v1.losses` find there what they add up with, whichever module a script has them from.
from tensorflow.python.ops.losses import util

from mox_core.engine.tf_patches.replaced import replaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def losses_of_several_types() -> Iterator[None]:
    """Make the sum of losses of several types one of the widest of them for the block; TensorFlow refuses them."""
    with replaced((util, "math_ops", _AddingWidest(util.math_ops))):
        yield


@frozen
class _AddingWidest:
    """TensorFlow's module of mathematics, which adds tensors of several floating-point types too."""

    original: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def add_n(self, inputs: Sequence[Any], name: str | None = None) -> tf.Tensor:
        """Return the sum in the widest type: float16 and bfloat16, of which neither holds the other, give float32."""
        types = {tf.as_dtype(each.dtype) for each in inputs}
        if len(types) > 1 and all(dtype.is_floating for dtype in types):
            widest = max([tf.float32, *types], key=lambda dtype: dtype.size)
            inputs = [tf.cast(each, widest) for each in inputs]
        total: tf.Tensor = self.original.add_n(inputs, name=name)
        return total
