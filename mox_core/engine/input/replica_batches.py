"""Elements that hold a batch for each replica of a model on several devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.tensors import no_autograph, zeros_of_spec
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_core.engine.input.structure import InputStructure
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


def parts_for_replicas(batches: Dataset, replicas: int, structure: InputStructure, *, whole: bool) -> Dataset:
    """Divide each batch among replicas: the first samples to the first replica, the next to the second.

    Args:
        batches: elements are (positions, inputs).
        replicas: how many parts a batch has.
        structure: the structure of a batch.
        whole: whether all parts must be of one size, as means over replicas weigh them alike. If not, the first ones
            may have a sample more; one without any is that of the first replica once more, which does not count.

    Returns:
        Elements as those of `batches_for_replicas`.

    Raises:
        UsageError: if a batch cannot be divided.
    """
    _check_divisible(structure, replicas, whole=whole)

    @no_autograph
    def divide(positions: tf.Tensor, inputs: tuple[tf.Tensor, ...]) -> Any:
        size = tf.shape(inputs[0])[0]
        extra = tf.math.floormod(size, replicas)
        if whole:
            what = f"a batch cannot be split over {replicas} devices (split_to_device); its number of samples is"
            with tf.control_dependencies([tf.debugging.Assert(tf.equal(extra, 0), [what, size])]):
                sizes = tf.fill([replicas], size // replicas)
        else:
            sizes = size // replicas + tf.cast(tf.range(replicas) < extra, tf.int32)
        divided = [_parts(each, sizes, replicas) for each in inputs]
        presents = sizes > 0
        flat: list[tf.Tensor] = []
        for number in range(replicas):
            own, first = [parts[number] for parts in divided], [parts[0] for parts in divided]
            flat += own if whole else tf.cond(presents[number], lambda own=own: own, lambda first=first: first)
        return positions, (presents, *flat)

    return batches.map(divide)


def _parts(tensor: tf.Tensor, sizes: tf.Tensor, replicas: int) -> Sequence[tf.Tensor]:
    """Return the parts of a tensor; their shapes are static where they are known."""
    size = tensor.shape[0]
    parts: Sequence[tf.Tensor] = tf.split(tensor, sizes, num=replicas)
    if size is not None and size % replicas == 0:
        for part in parts:
            part.set_shape([size // replicas, *tensor.shape[1:]])
    return parts


def _check_divisible(structure: InputStructure, replicas: int, *, whole: bool) -> None:
    sizes: dict[int, str] = {}
    for spec, name in zip(tf.nest.flatten(structure.inputs), structure.names(), strict=False):
        if not isinstance(spec, tf.TensorSpec):
            raise UsageError(
                f"{name} is part of a {spec.value_type.__name__}, which cannot be split over devices "
                "(split_to_device): give dense tensors, or leave split_to_device out."
            )
        if spec.shape.rank == 0:
            raise UsageError(
                f"{name} is a scalar, which cannot be split over {replicas} devices (split_to_device): the first "
                "dimension of each input is that of the samples."
            )
        size = spec.shape[0] if spec.shape.rank else None
        if whole and size is not None and size % replicas:
            raise UsageError(
                f"a batch of {size} ({name}) cannot be split over {replicas} devices (split_to_device): make it a "
                f"multiple of {replicas}, or leave split_to_device out."
            )
        if size is not None:
            sizes[size] = name
    if len(sizes) > 1:
        raise UsageError(
            "the inputs cannot be split over devices (split_to_device), as they hold batches of different sizes: "
            f"{', '.join(f'{size} ({name})' for size, name in sizes.items())}."
        )
