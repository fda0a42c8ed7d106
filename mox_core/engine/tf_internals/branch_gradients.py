"""Gradients that are computed in a branch, of tensors that were made outside of it.

A branch takes the handle of a variable from outside of all graphs, and tensors from the graph around it, which has a
placeholder of its own for the handle. TensorFlow sees no way from the one to the other: the gradient is lost, without a
word where another tensor of the loss has one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf

# What all of tf.gradients, tf.compat.v1.gradients and the optimizers of TF1 call.
from tensorflow.python.ops import gradients_util  # type: ignore[attr-defined]  # not in the stubs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def differentiable_through(graph: Any) -> Iterator[None]:
    """Have gradients of variables, in the block and in branches of a graph, count what was made in the graph too.

    Args:
        graph: the graph around the branches.
    """
    inside = gradients_util._GradientsHelper  # noqa: SLF001  (see above)

    def everywhere(ys: Any, xs: Any, *args: Any, **kwargs: Any) -> list[Any]:
        found = inside(ys, xs, *args, **kwargs)
        if tf.compat.v1.get_default_graph() is graph:
            return found
        handles: list[Any] = [getattr(each, "handle", each) for each in tf.nest.flatten(xs)]
        numbers = [number for number, each in enumerate(handles) if each.dtype == tf.resource]
        outside = inside(ys, [graph.capture(handles[number]) for number in numbers], *args, **kwargs)
        for number, gradient in zip(numbers, outside, strict=True):
            found[number] = _sum([each for each in (found[number], gradient) if each is not None])
        return found

    gradients_util._GradientsHelper = everywhere  # noqa: SLF001
    try:
        yield
    finally:
        gradients_util._GradientsHelper = inside  # noqa: SLF001


def _sum(gradients: Sequence[Any]) -> Any:
    """Return the sum of gradients of one variable, None where there is none."""
    if len(gradients) < 2:  # noqa: PLR2004  (nothing to add)
        return gradients[0] if gradients else None
    if all(isinstance(each, tf.IndexedSlices) for each in gradients):
        values, indices = (tf.concat([getattr(each, name) for each in gradients], 0) for name in ("values", "indices"))
        return tf.IndexedSlices(values, indices, gradients[0].dense_shape)
    return tf.add_n([tf.convert_to_tensor(each) for each in gradients])
