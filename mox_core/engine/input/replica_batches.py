"""Elements that hold a batch for each replica of a model on several devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.tensors import no_autograph, zeros_of_spec

if TYPE_CHECKING:
    from mox_core.engine.tensors import Dataset


def batches_for_replicas(batches: Dataset, replicas: int, *, counted: bool, whole: bool) -> Dataset:
    """Put as many batches as there are replicas into one element.

    Args:
        batches: elements are inputs, where positions are counted elsewhere, else (positions, inputs).
        replicas: how many batches an element holds.
        counted: whether positions are counted elsewhere.
        whole: whether a last element of fewer batches is left out. If not, its missing batches are those of the first
            replica once more, which do not count.

    Returns:
        Elements in the form of the batches; the inputs are (present, *inputs of the first replica, *inputs of the
        second, ...), where present, bool [replicas], tells whose inputs count.
    """

    @no_autograph
    def marked(*element: Any) -> Any:
        positions, inputs = (tf.zeros([0], tf.int64), element) if counted else element
        return tf.constant(True), positions, tuple(inputs)

    single = batches.map(marked)
    absent = tf.nest.map_structure(zeros_of_spec, single.element_spec)
    if not whole:
        single = single.concatenate(tf.data.Dataset.from_tensors(absent).repeat(replicas - 1))

    @no_autograph
    def collect(before: Any, numbered: Any) -> Any:
        number, element = numbered
        group = (*before, element)
        return group[1:], (number, group)

    @no_autograph
    def is_full(number: tf.Tensor, group: Any) -> tf.Tensor:
        return (tf.math.floormod(number, replicas) == replicas - 1) & group[0][0]

    @no_autograph
    def merge(_number: tf.Tensor, group: Any) -> Any:
        presents = tf.stack([present for present, _, _ in group])
        first = group[0][2]
        inputs: list[tf.Tensor] = []
        for present, _, own in group:
            inputs += tf.cond(present, lambda own=own: list(own), lambda: list(first))
        if counted:
            return (presents, *inputs)
        return tf.reduce_max(tf.stack([positions for _, positions, _ in group]), 0), (presents, *inputs)

    groups: Dataset = single.enumerate().scan((absent,) * (replicas - 1), collect)
    return groups.filter(is_full).map(merge)  # type: ignore[arg-type]  # the stubs know elements of one part only
