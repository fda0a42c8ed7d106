"""Tensors that are summed over devices or workers together.

A pack leaves when all that is in it has been computed, while the rest is being computed still, and packs leave one
after another, on all workers in the same order. So they are filled in the order in which tensors are computed: of
gradients, those of the last layers come first. One that comes late would keep all others waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Sequence


def in_packs(tensors: Sequence[Any], enough: int) -> list[list[int]]:
    """Return the places of tensors of a graph in packs, those first that are complete first.

    Args:
        tensors: dense ones, of which those of one dtype share a pack, and `tf.IndexedSlices`, each of which is alone.
        enough: bytes; a pack that has as many gets no more.
    """
    packs: list[list[int]] = []
    unfinished: dict[tf.DType, list[int]] = {}
    for place in _as_computed(tensors):
        tensor = tensors[place]
        if isinstance(tensor, tf.IndexedSlices):
            packs.append([place])
            continue
        pack = unfinished.setdefault(tensor.dtype, [])
        pack.append(place)
        if sum(_bytes_of(tensors[each]) for each in pack) >= enough:
            packs.append(unfinished.pop(tensor.dtype))
    last = _as_computed([tensors[pack[-1]] for pack in unfinished.values()])
    return [*packs, *([*unfinished.values()][each] for each in last)]


def _as_computed(tensors: Sequence[Any]) -> list[int]:
    """Return the places of tensors in the order in which their operations were made.

    `tf.gradients` makes them in the order in which a backward pass computes them, and it is the same on all workers.
    """
    graph = tf.compat.v1.get_default_graph()
    made = {op.name: number for number, op in enumerate(graph.get_operations())}

    def time(part: Any) -> int:
        """What is from outside of the graph was there before."""
        return made[part.op.name] if tf.is_symbolic_tensor(part) and part.graph is graph else -1

    parts = [[each.values, each.indices] if isinstance(each, tf.IndexedSlices) else [each] for each in tensors]
    times = [max(map(time, own)) for own in parts]
    return sorted(range(len(tensors)), key=times.__getitem__)


def _bytes_of(tensor: tf.Tensor) -> int:
    return (tensor.shape.num_elements() or 0) * tensor.dtype.size
