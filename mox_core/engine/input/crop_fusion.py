"""A crop that is decoded alone: where a graph uses a JPEG only by its shape and one crop, no more of it is decoded.

The graph is that of `input_fn`. What the place of the crop is computed by is cut out of it,
and run where the file is decoded; what comes behind the crop runs where it always does. Its numbers, those of chance
too, are the same: they depend on the position of the sample. So are the pixels, to the last bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import frozen

from mox_core.engine.input.image_decoding import (
    ENCODED,
    IMAGE,
    decode_jpeg,
    decode_jpeg_part,
    decode_other,
    is_whole_jpeg,
    out_of_line,
    without_file,
)
from mox_core.engine.tensors import PYTHON_OPS, READABLE, ancestors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mox_core.engine.tensors import Features

_SHAPE: Final = "mox/shape"
BOX: Final = "mox/box"
SCALING: Final = "mox/scaling"
MADE: Final = frozenset({IMAGE, _SHAPE, BOX, SCALING})
"""The names of the features that `FusedCrop.decoded` makes: pixels, shape of the image, place of the crop in them, and
how they are resized where they are smaller than the image."""

_SAME: Final = frozenset({"Cast", "Identity"})
_WITH_CONSTANT: Final = frozenset({"AddV2", "Maximum", "Minimum", "Mul", "RealDiv", "Sub"})
_SLICE: Final = "Slice"
_CROPS: Final = frozenset({_SLICE, "StridedSlice"})
_CHANNELS: Final = 3
_IMAGE_RANK: Final = 3


@frozen(eq=False)
class FusedCrop:
    """The crop of a graph, and how the rest of the graph is run without the rest of the image.

    Attributes:
        function: the graph, as a function that can be pruned.
        position: the placeholder of the position from which random operations take their seeds.
        features: the placeholders of the features of a sample.
        shapes: the results in the graph that are the shape of the image, or of a batch of it alone.
        crop: the operation that crops, `Slice` or `StridedSlice`.
    """

    function: Any
    position: tf.Tensor
    features: Mapping[str, tf.Tensor]
    shapes: Sequence[tf.Tensor]
    crop: tf.Operation

    def decoded(self, features: Features, seed: tf.Tensor) -> Features:
        """Return the features of a sample with `MADE` and READABLE in place of the image file.

        What is no JPEG, and a JPEG that the crop does not fit in, is decoded whole: the crop is done, and fails, later.

        Args:
            features: the features of the sample.
            seed: its position.
        """
        content = features[ENCODED]

        def jpeg() -> Features:
            shape = tf.ensure_shape(tf.io.extract_jpeg_shape(content), [_IMAGE_RANK])
            shape = tf.concat([shape[:2], [_CHANNELS]], 0)
            box = self._box(shape, features, seed)
            begin, size = tf.unstack(box[:, self.axis : self.axis + 2])

            def part() -> Features:
                return self.decoded_part(content, box, shape, features, seed)

            def whole() -> Features:
                return {IMAGE: out_of_line(decode_jpeg)(content), BOX: box, **self.not_scaled}

            fits = tf.reduce_all((begin >= 0) & (size > 0) & (begin + size <= shape[:2]))
            made: Features = tf.cond(fits, part, whole)
            return made | {_SHAPE: shape, READABLE: tf.constant(True)}

        @out_of_line
        def other() -> Features:
            pixels, is_readable = decode_other(content)
            shape = tf.concat([tf.shape(pixels)[:2], [_CHANNELS]], 0)
            no_box = tf.zeros([2, self.axis + _IMAGE_RANK], tf.int32)
            box = tf.cond(is_readable, lambda: self._box(shape, features, seed), lambda: no_box)
            return {IMAGE: pixels, BOX: box, _SHAPE: shape, READABLE: is_readable, **self.not_scaled}

        made: Features = tf.cond(is_whole_jpeg(content), jpeg, other)
        made[IMAGE].set_shape([None, None, _CHANNELS])
        made[BOX].set_shape([2, self.axis + _IMAGE_RANK])
        made[READABLE].set_shape([])
        return without_file(features) | made

    @property
    def not_scaled(self) -> Features:
        """Further features of a crop that is decoded as large as it is."""
        return {}

    def decoded_part(
        self, content: tf.Tensor, box: tf.Tensor, shape: tf.Tensor, features: Features, seed: tf.Tensor
    ) -> Features:
        """Return 'image' and `BOX` of a JPEG that the crop fits in.

        Args:
            content: the bytes of the file.
            box: begin and size of the crop in the image, as `tf.slice` takes them.
            shape: the shape of the image.
            features: the features of the sample.
            seed: its position.
        """
        del features, seed
        begin, size = tf.unstack(box[:, self.axis : self.axis + 2])
        pixels, inner = decode_jpeg_part(content, begin, size, shape[:2])
        return {IMAGE: pixels, BOX: box + tf.pad([inner - begin, [0, 0]], [[0, 0], [self.axis, 1]])}

    def outputs(self, outputs: Sequence[tf.Tensor], effects: Iterable[tf.Operation], names: Iterable[str]) -> Any:
        """Return a function of (seed, features) that computes outputs of the graph of what `decoded` returns.

        Args:
            outputs: the tensors.
            effects: operations that run too.
            names: names of the features that they need.
        """
        names = sorted({*names} - MADE)
        whole = self.crop.inputs[0]
        # In both parts there may be assertions of the shape.
        given = [self.position, *self.shapes, *(self.features[name] for name in names)]
        before = self.function.prune([self.features[IMAGE], *given], [whole])
        rest = self.behind_crop([*outputs, *effects], given)

        def call(seed: tf.Tensor, features: Features) -> list[tf.Tensor]:
            shapes = [self._as_shape(each, features[_SHAPE]) for each in self.shapes]
            values = [seed, *shapes, *(features[name] for name in names)]
            # Cropped first, as bytes: what the graph does before its crop, it does to each pixel alone.
            begin, size = tf.unstack(features[BOX][:, self.axis :])
            (part,) = before(tf.slice(features[IMAGE], begin, size), *values)
            return list(rest(part, features, values))[: len(outputs)]

        return call

    def behind_crop(
        self, outputs: Sequence[tf.Tensor | tf.Operation], given: Sequence[tf.Tensor]
    ) -> Callable[..., Any]:
        """Return a function of (crop, features, values of `given`) that computes outputs of the graph."""
        rest = self.function.prune([self.crop.outputs[0], *given], list(outputs))
        return lambda part, _, values: rest(part, *values)

    @property
    def axis(self) -> int:
        """The axis of the rows where the graph crops."""
        return int(self.crop.inputs[0].shape.rank) - _IMAGE_RANK

    def _box(self, shape: tf.Tensor, features: Features, seed: tf.Tensor) -> tf.Tensor:
        """Return begin and size of the crop, as `tf.slice` takes them, but for sizes that reach to the end."""
        place = self.known(self.crop.inputs[1:3], shape, features, seed)
        first, second = (tf.cast(each, tf.int32) for each in place)
        lengths = tf.concat([[1] * self.axis, shape], 0)
        if self.crop.type == _SLICE:
            return tf.stack([first, tf.where(second < 0, lengths - first, second)])
        return _box_of_strided(self.crop, first, second, lengths)

    def known(
        self, tensors: Iterable[tf.Tensor], shape: tf.Tensor, features: Features, seed: tf.Tensor
    ) -> list[tf.Tensor]:
        """Return tensors of the graph that depend on the shape of the image, other features and the position alone."""
        names = sorted({*features} & {*self.features} - MADE)
        given = [self.position, *self.shapes, *(self.features[name] for name in names)]
        shapes = [self._as_shape(each, shape) for each in self.shapes]
        values = [seed, *shapes, *(features[name] for name in names)]
        return list(self.function.prune(given, list(tensors))(*values))

    def knows(self, tensors: Iterable[tf.Tensor]) -> bool:
        """Whether tensors of the graph are functions of the shape of the image, other features and the position."""
        places = {self.position.op.name, *(tensor.op.name for name, tensor in self.features.items() if name != IMAGE)}
        return not any(
            op.type in PYTHON_OPS or op.op_def.is_stateful or (op.type == "Placeholder" and op.name not in places)
            for op in ancestors(tensors, given=self.shapes, ordered=False)
        )

    def _as_shape(self, of: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        """Return the shape of the image as the result of an operation in the graph."""
        leading = int(of.op.inputs[0].shape.rank) - _IMAGE_RANK
        return tf.cast(tf.concat([[1] * leading, shape], 0), of.dtype)


def find_crop(
    function: Any, position: tf.Tensor, features: Features, used: Iterable[tf.Tensor | tf.Operation]
) -> FusedCrop | None:
    """Return the crop of a graph that can be decoded alone.

    Args:
        function: the graph, as a function that can be pruned.
        position: the placeholder of the position from which random operations take their seeds.
        features: the placeholders of the features of a sample.
        used: the results of the graph, and its operations that are there for what they do.

    Returns:
        None where the image is used for anything but its shape and one crop, or where the place of the crop depends on
        what is not known when the file is decoded.
    """
    image, used = features.get(IMAGE), list(used)
    if image is None or any(each is image for each in used):
        return None
    needed = {op.name for op in ancestors(used)}
    crops, shapes = [], []
    waiting = [image]
    while waiting:
        tensor = waiting.pop()
        for op in (op for op in tensor.consumers() if op.name in needed):
            if op.type == "Shape":
                shapes.append(op.outputs[0])
            elif op.type in _CROPS and op.inputs[0] is tensor:
                crops.append(op)
            elif goes_with_crop(op, tensor) and not any(each is op.outputs[0] for each in used):
                waiting.append(op.outputs[0])
            else:
                return None
    if len(crops) != 1 or not _is_plain(crops[0]):
        return None
    (crop,) = crops
    fused = FusedCrop(function, position, features, shapes, crop)
    return fused if fused.knows(crop.inputs[1:]) else None


def goes_with_crop(op: tf.Operation, tensor: tf.Tensor) -> bool:
    """Whether an operation of an image, or of a batch of it alone, gives the same before and behind a crop."""
    if op.type in _SAME:
        return True
    if op.type == "EnsureShape":
        shape = tf.TensorShape(op.get_attr("shape"))
        return (
            shape.rank == tensor.shape.rank
            and shape[-3:].is_compatible_with([None, None, _CHANNELS])
            and (shape[-3:-1].as_list() == [None, None])
        )
    if op.type == "ExpandDims":
        return tensor.shape.rank == _IMAGE_RANK and tf.get_static_value(op.inputs[1]) in (0, -_IMAGE_RANK - 1)
    if op.type not in _WITH_CONSTANT:
        return False
    (other,) = [each for each in op.inputs if each is not tensor] or [tensor]
    return other.op.type == "Const" and other.shape.rank is not None and other.shape.rank <= 1


def _is_plain(crop: tf.Operation) -> bool:
    """Whether an operation crops rows and columns, and nothing else."""
    if crop.inputs[0].shape.rank not in {_IMAGE_RANK, _IMAGE_RANK + 1}:
        return False
    if crop.type == _SLICE:
        begin, size = (tf.get_static_value(each, partial=True) for each in crop.inputs[1:3])
        to_the_end = begin is not None and size is not None and (begin[-1], size[-1]) == (0, -1)
        return to_the_end or crop.outputs[0].shape[-1] == _CHANNELS
    rank = crop.inputs[1].shape[0]
    steps = tf.get_static_value(crop.inputs[3])
    behind = range(int(crop.inputs[0].shape.rank) - 1, rank or 0)
    ignored = crop.get_attr("begin_mask") & crop.get_attr("end_mask")
    return (
        rank is not None
        and steps is not None
        and all(step == 1 for step in steps)
        and not any(crop.get_attr(name) for name in ("new_axis_mask", "shrink_axis_mask"))
        and crop.get_attr("ellipsis_mask") in {0, 1 << rank - 1}
        and (bool(crop.get_attr("ellipsis_mask")) or all(ignored >> axis & 1 for axis in behind))
    )


def _box_of_strided(crop: tf.Operation, begin: tf.Tensor, end: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return begin and size of what `image[a:b, c:d]` gives, as Python counts: from the end, too, and at most to it."""
    ellipsis, begins, ends = (crop.get_attr(name) for name in ("ellipsis_mask", "begin_mask", "end_mask"))
    (given,) = crop.inputs[1].shape.as_list()
    firsts, numbers = [], []
    for axis in range(int(crop.inputs[0].shape.rank)):
        is_given = axis < (given or 0) and not ellipsis >> axis & 1
        length = lengths[axis]
        first = _within(begin[axis], length) if is_given and not begins >> axis & 1 else tf.constant(0)
        last = _within(end[axis], length) if is_given and not ends >> axis & 1 else length
        firsts.append(first)
        numbers.append(tf.maximum(last - first, 0))
    return tf.stack([tf.stack(firsts), tf.stack(numbers)])


def _within(place: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(tf.where(place < 0, place + length, place), 0, length)
