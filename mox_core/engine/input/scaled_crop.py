"""A crop that is decoded smaller: where a graph shrinks the crop of a JPEG, libjpeg leaves out what gets lost.

Of its DCT coefficients it takes those of the lower frequencies alone, and gives an image of 1/2, 1/4 or 1/8 of the
size, each pixel about the mean of a square of the original. The pixels are others than by bilinear interpolation of the
original, which takes 2 x 2 pixels of the many that each one of the output stands for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import asdict, frozen

from mox_core.engine.input.crop_fusion import BOX, SCALING, FusedCrop, goes_with_crop
from mox_core.engine.input.image_decoding import DCT_RATIOS, IMAGE, decode_jpeg_scaled
from mox_core.engine.tensors import ancestors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.engine.tensors import Features

_BILINEAR, _SCALE_AND_TRANSLATE = "ResizeBilinear", "ScaleAndTranslate"
_ROUNDING: Final = 1e-4  # of a scale, a quotient in float32


@frozen(eq=False, kw_only=True)
class ScaledCrop(FusedCrop):
    """A crop that is resized, and is decoded smaller where that shrinks it to half or less.

    Attributes:
        resize: the operation that resizes, `ResizeBilinear` or `ScaleAndTranslate`.
    """

    resize: tf.Operation

    @property
    def not_scaled(self) -> Features:
        """The features of a crop that is decoded as it is."""
        return {SCALING: tf.zeros([2, 2])}

    def decoded_part(
        self, content: tf.Tensor, box: tf.Tensor, shape: tf.Tensor, features: Features, seed: tf.Tensor
    ) -> Features:
        """Return what that of `FusedCrop` does, and `SCALING`: scale and translation from the pixels to the output."""
        begin, size = tf.unstack(box[:, self.axis : self.axis + 2])
        scale, translation = self._scaling(size, shape, features, seed)
        fitting = tf.cast(DCT_RATIOS, tf.float32) * tf.reduce_max(scale) <= 1 + _ROUNDING
        ratio = tf.reduce_max(tf.where(fitting, DCT_RATIOS, 1))

        def as_it_is() -> Features:
            return FusedCrop.decoded_part(self, content, box, shape, features, seed) | self.not_scaled

        def smaller() -> Features:
            first = begin // ratio
            last = -(-tf.minimum(begin + size, shape[:2]) // ratio)
            pixels = decode_jpeg_scaled(content, first, last - first, ratio)
            # In continuous coordinates, where pixel i reaches from i to i + 1: output = crop * scale + translation.
            outside = tf.cast(first * ratio - begin, tf.float32)
            scaling = tf.stack([scale * tf.cast(ratio, tf.float32), outside * scale + translation])
            leading = [1] * self.axis
            whole = tf.concat([leading, tf.shape(pixels)], 0)
            return {IMAGE: pixels, BOX: tf.stack([tf.zeros_like(whole), whole]), SCALING: scaling}

        made: Features = tf.cond(ratio > 1, smaller, as_it_is)
        return made

    def behind_crop(
        self, outputs: Sequence[tf.Tensor | tf.Operation], given: Sequence[tf.Tensor]
    ) -> Callable[..., Any]:
        """Return what that of `FusedCrop` does."""
        cropped, resized = self.crop.outputs[0], self.resize.outputs[0]
        to_resize = self.function.prune([cropped, *given], list(self.resize.inputs[:2]))
        as_it_is = self.function.prune([cropped, *given], [resized])
        rest = self.function.prune([resized, *given], list(outputs))

        def call(part: tf.Tensor, features: Features, values: Sequence[tf.Tensor]) -> Any:
            scale, translation = tf.unstack(features[SCALING])

            def smaller() -> tf.Tensor:
                images, size = to_resize(part, *values)
                return tf.raw_ops.ScaleAndTranslate(
                    images=images, size=size, scale=scale, translation=translation, **self._kernel
                )

            image = tf.cond(scale[0] > 0, smaller, lambda: as_it_is(part, *values)[0])
            return rest(image, *values)

        return call

    @property
    def _kernel(self) -> dict[str, Any]:
        if self.resize.type == _BILINEAR:
            return {"kernel_type": "triangle", "antialias": False}
        return {name: self.resize.get_attr(name) for name in ("kernel_type", "antialias")}

    def _scaling(
        self, size: tf.Tensor, shape: tf.Tensor, features: Features, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return scale and translation from the crop to the output, each of rows and columns (float32)."""
        if self.resize.type == _BILINEAR:
            (output,) = self.known(self.resize.inputs[1:2], shape, features, seed)
            return tf.cast(output, tf.float32) / tf.cast(size, tf.float32), tf.zeros([2])
        scale, translation = self.known(self.resize.inputs[2:4], shape, features, seed)
        return scale, translation


def find_scaled_crop(crop: FusedCrop, used: Sequence[tf.Tensor | tf.Operation]) -> FusedCrop:
    """Return a crop as one that is decoded smaller, where what is done before its resize allows it; else as it is.

    Args:
        crop: the crop.
        used: the results of the graph, and its operations that are there for what they do.
    """
    tensor, needed = crop.crop.outputs[0], {op.name for op in ancestors(used)}
    if tensor.shape[crop.axis : crop.axis + 2].as_list() != [None, None]:
        return crop  # a static shape that a smaller part would not have
    between = ancestors(crop.crop.inputs[:1])
    while True:
        users = [op for op in tensor.consumers() if op.name in needed]
        if len(users) != 1 or any(each is tensor for each in used):
            return crop
        (op,) = users
        if op.type in {_BILINEAR, _SCALE_AND_TRANSLATE} and op.inputs[0] is tensor:
            break
        if not goes_with_crop(op, tensor):
            return crop
        between.append(op)
        tensor = op.outputs[0]
    if op.type == _BILINEAR and (op.get_attr("align_corners") or not op.get_attr("half_pixel_centers")):
        return crop
    if not all(map(_keeps_means, between)) or not crop.knows(op.inputs[1:]):
        return crop
    return ScaledCrop(**asdict(crop, recurse=False), resize=op)


def _keeps_means(op: tf.Operation) -> bool:
    """Whether an operation gives the same before and behind the mean of some pixels: no overflow, no rounding."""
    dtype = op.outputs[0].dtype
    if op.type == "Cast":
        return bool(dtype.is_floating) or (op.inputs[0].dtype == tf.uint8 and dtype.size > 1)
    if op.type == "RealDiv":
        return bool(dtype.is_floating) and op.inputs[1].op.type == "Const"
    if op.type in {"AddV2", "Mul", "Sub"}:
        return bool(dtype.is_floating)
    return op.type not in {"Maximum", "Minimum"}
