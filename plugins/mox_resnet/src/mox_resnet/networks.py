"""The networks for `mox.get_model_fn`: each takes options and returns a function `images -> (logits, end_points)`."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.modes import ModeKeys
from mox_resnet import architectures as known
from mox_resnet.checks import check_count, check_run_mode, check_unknown
from mox_resnet.layers import Context, batch_norm, conv
from mox_resnet.preprocessing import standardize_images, subtract_vgg_means

if TYPE_CHECKING:
    from mox_resnet.architectures import Architecture

NetworkFn = Callable[[tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]]
PreprocessFn = Callable[[tf.Tensor, str], tf.Tensor]


def resnet(  # noqa: PLR0913  (the options of get_model_fn)
    architecture: Architecture,
    *,
    run_mode: str,
    num_classes: int,
    weight_decay: float = 0.0,
    data_format: str = "NHWC",
    batch_norm_fused: bool = False,
    batch_renorm: bool = False,
    image_height: int | None = None,
    image_width: int | None = None,
    preprocess_fn: PreprocessFn | None = subtract_vgg_means,
    **model_kwargs: Any,
) -> NetworkFn:
    """Return the function that builds a residual network on a batch of images.

    It takes images as [batch, height, width, channels] whatever the `data_format`, of any size, any integer or float
    type, in 0..255. float16 and bfloat16 are computed in their own type, with statistics in float32; all others in
    float32. It returns the logits, [batch, num_classes], and the end points: the outputs of layers, units and blocks by
    the name of their variable scope, and 'global_pool', '<network>/logits', '<network>/spatial_squeeze' and
    'predictions' (probabilities).

    Args:
        architecture: the layers.
        run_mode: TRAIN normalizes by the batch and updates the moving averages; other modes normalize by these.
        num_classes: the number of logits of an image.
        weight_decay: factor of the L2 loss (half the sum of squares) of each kernel, in REGULARIZATION_LOSSES.
        data_format: 'NHWC' or 'NCHW', the layout of the end points, and of the computation where the device can do it.
            Where it cannot, and in EXPORT, NCHW is computed as NHWC: same variables, same results.
        batch_norm_fused: no effect: the fused kernel is always used, as it is faster on CPUs too.
        batch_renorm: not supported.
        image_height: checks, or completes, the static shape of the images.
        image_width: checks, or completes, the static shape of the images.
        preprocess_fn: `preprocess_fn(images, run_mode)` in place of the network's own preprocessing; None for none.
        model_kwargs: unknown options, an error.

    Raises:
        UsageError: if an option is unknown or wrong; or, from the returned function, if the images are wrong.
    """
    del batch_norm_fused
    name = architecture.name
    _check_options(name, run_mode, num_classes, weight_decay, data_format, batch_renorm, model_kwargs)
    height = None if image_height is None else check_count("image_height", image_height)
    width = None if image_width is None else check_count("image_width", image_width)

    def network(images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        net = _checked(name, tf.convert_to_tensor(images), height, width)
        if preprocess_fn is not None:
            net = _checked(name, tf.convert_to_tensor(preprocess_fn(net, run_mode)), None, None)
        if net.dtype not in (tf.float16, tf.bfloat16):
            net = tf.cast(net, tf.float32)
        layout = data_format if data_format == "NHWC" or _does_nchw(net, run_mode) else "NHWC"
        context = Context(
            training=run_mode == ModeKeys.TRAIN,
            weight_decay=weight_decay,
            batch_norm_decay=architecture.batch_norm_decay,
            data_format=layout,
        )
        with tf.compat.v1.variable_scope(name) as scope:
            logits = _layers(_transposed(net, "NHWC", layout), context, architecture, num_classes, scope.name)
        end_points = {key: _transposed(value, layout, data_format) for key, value in context.end_points.items()}
        return logits, end_points

    return network


def _layers(net: tf.Tensor, context: Context, architecture: Architecture, num_classes: int, scope: str) -> tf.Tensor:
    net = architecture.root(net, context)
    for number, block in enumerate(architecture.blocks, start=1):
        with tf.compat.v1.variable_scope(f"block{number}") as block_scope:
            for unit_number, stride in enumerate(block.strides, start=1):
                with tf.compat.v1.variable_scope(f"unit_{unit_number}"):
                    net = architecture.unit(net, context, block.depth, stride)
        context.end_points[block_scope.name] = net
    if architecture.postnorm:
        net = tf.nn.relu(batch_norm(net, context, scope="postnorm"))
    net = tf.reduce_mean(net, context.spatial_axes, keepdims=True, name="pool5")
    context.end_points["global_pool"] = net
    net = conv(net, context, filters=num_classes, size=1, normalize=False, activate=False, scope="logits")
    logits = tf.squeeze(net, context.spatial_axes, name="SpatialSqueeze")
    context.end_points[f"{scope}/spatial_squeeze"] = logits
    context.end_points["predictions"] = tf.nn.softmax(logits, name="predictions")
    return logits


def _check_options(
    name: str,
    run_mode: str,
    num_classes: int,
    weight_decay: object,
    data_format: str,
    batch_renorm: object,
    model_kwargs: dict[str, Any],
) -> None:
    check_unknown(model_kwargs, owner=f"network {name!r}", known="those of get_model_fn, no others")
    check_run_mode(run_mode)
    check_count("num_classes", num_classes)
    if not isinstance(weight_decay, numbers.Real) or not 0 <= float(weight_decay) < math.inf:
        raise UsageError(f"weight_decay is {weight_decay!r}, which must be a finite number of at least 0")
    if data_format not in ("NHWC", "NCHW"):
        raise UsageError(f"data_format is {data_format!r}, which must be 'NHWC' or 'NCHW'")
    if batch_renorm:
        raise UsageError(
            f"batch_renorm=True is not supported by network {name!r}: leave it out to train with batch normalization"
        )


def _checked(name: str, images: tf.Tensor, height: int | None, width: int | None) -> tf.Tensor:
    """Return the images with all that is known of their static shape.

    Raises:
        UsageError: if their dtype or shape is wrong.
    """
    if not (images.dtype.is_integer or images.dtype.is_floating):
        raise UsageError(
            f"images for network {name!r} have dtype {images.dtype.name!r}, which must be an integer or float type"
        )
    if images.shape.rank not in (None, 4):
        raise UsageError(
            f"images for network {name!r} have shape {images.shape}, which must be [batch, height, width, channels]: "
            "give a batch of images"
        )
    expected = tf.TensorShape([None, height, width, None])
    if not images.shape.is_compatible_with(expected):
        raise UsageError(
            f"images for network {name!r} have shape {images.shape}, but image_height={height!r} and "
            f"image_width={width!r} were given: leave these out, or resize the images"
        )
    if images.shape.with_rank(4)[3] is None:
        expected = expected.merge_with([None, None, None, 3])
    checked: tf.Tensor = tf.ensure_shape(images, expected)
    return checked


def _does_nchw(net: tf.Tensor, run_mode: str) -> bool:
    """Return whether the devices of the network can compute in NCHW.

    An exported model runs anywhere, so it cannot. An operation made here has the device of the enclosing scope.
    """
    if run_mode == ModeKeys.EXPORT or not tf.config.list_logical_devices("GPU"):
        return False
    return "CPU" not in tf.identity(net).device.upper()


def _transposed(net: tf.Tensor, given: str, wanted: str) -> tf.Tensor:
    if given == wanted or net.shape.rank != len(given):
        return net
    return tf.transpose(net, [given.index(axis) for axis in wanted])


resnet_v1_18 = partial(resnet, known.RESNET_V1_18)
resnet_v1_20 = partial(resnet, known.RESNET_V1_20, preprocess_fn=standardize_images)
resnet_v1_34 = partial(resnet, known.RESNET_V1_34)
resnet_v1_50 = partial(resnet, known.RESNET_V1_50)
resnet_v1_101 = partial(resnet, known.RESNET_V1_101)
resnet_v1_110 = partial(resnet, known.RESNET_V1_110, preprocess_fn=standardize_images)
resnet_v1_152 = partial(resnet, known.RESNET_V1_152)
resnet_v1_200 = partial(resnet, known.RESNET_V1_200)
resnet_v2_50 = partial(resnet, known.RESNET_V2_50)
resnet_v2_101 = partial(resnet, known.RESNET_V2_101)
resnet_v2_152 = partial(resnet, known.RESNET_V2_152)
resnet_v2_200 = partial(resnet, known.RESNET_V2_200)
