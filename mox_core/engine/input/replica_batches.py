"""Batches in groups: one for each copy of a model that is on several devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.tensors import no_autograph, zeros_of_spec

if TYPE_CHECKING:
    from mox_core.engine.tensors import Dataset


def batches_for_replicas(batches: Dataset, copies: int, *, counted: bool, whole: bool) -> Dataset:
    """Puts as many batches as there are copies into one element.

    Args:
        batches: gives inputs, where positions are counted elsewhere, else (positions, inputs).
        copies: batches in a group.
        counted: whether positions are counted elsewhere.
        whole: whether a last group of fewer batches is left out. If not, its missing batches are those of the first
            copy once more, which do not count.

    Returns:
        Groups in the form of the batches; the inputs are (present, *those of the first copy, *those of the second,
        ...), where present (bool, [copies]) tells whose inputs count.
    """

    @no_autograph
    def marked(*element: Any) -> Any:
        positions, inputs = (tf.zeros([0], tf.int64), element) if counted else element
        return tf.constant(True), positions, tuple(inputs)

    single = batches.map(marked)
    absent = tf.nest.map_structure(zeros_of_spec, single.element_spec)
    if not whole:
        single = single.concatenate(tf.data.Dataset.from_tensors(absent).repeat(copies - 1))

    @no_autograph
    def gather(before: Any, numbered: Any) -> Any:
        number, element = numbered
        group = (*before, element)
        return group[1:], (number, group)

    @no_autograph
    def is_full(number: tf.Tensor, group: Any) -> tf.Tensor:
        return (tf.math.floormod(number, copies) == copies - 1) & group[0][0]

    @no_autograph
    def together(_number: tf.Tensor, group: Any) -> Any:
        presents = tf.stack([present for present, _, _ in group])
        first = group[0][2]
        inputs: list[tf.Tensor] = []
        for present, _, own in group:
            inputs += tf.cond(present, lambda own=own: list(own), lambda: list(first))
        if counted:
            return (presents, *inputs)
        return tf.reduce_max(tf.stack([positions for _, positions, _ in group]), 0), (presents, *inputs)

    groups: Dataset = single.enumerate().scan((absent,) * (copies - 1), gather)
    return groups.filter(is_full).map(together)  # type: ignore[arg-type]  # the stubs know elements of one part only
