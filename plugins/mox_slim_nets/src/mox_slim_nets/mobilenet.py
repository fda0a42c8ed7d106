"""MobileNets as TF-slim has them: v1 is arXiv:1704.04861, v2 is arXiv:1801.04381.

Both are tables of layers whose numbers of filters are multiplied: v1 rounds a product down, v2 to a multiple of eight.
Kernels of depthwise convolutions have no weight decay.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.networks.checks import check_count, check_flag, check_keep_prob, check_multiplier
from mox_core.networks.image_network import ImageNetwork
from mox_core.networks.layers import conv, depthwise_conv, dropout, global_pool
from mox_core.networks.preprocessing import scale_to_unit_range

if TYPE_CHECKING:
    from mox_core.networks.context import Context

_INITIALIZER: Final = tf.compat.v1.truncated_normal_initializer(stddev=0.09)
_EPSILON: Final = 1e-3

_V1_ROOT: Final = 32
_V1_LAYERS: Final = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
"""Filters and stride of each separable convolution of v1 (table 1 of its paper)."""

_V2_ROOT: Final = 32
_V2_BLOCKS: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, filters, number and stride of the first of the bottlenecks of v2 (table 2 of its paper: t, c, n, s)."""

_V2_LAST: Final = 1280
_DIVISOR: Final = 8
_LARGEST_LOSS: Final = 0.9

_depthwise = partial(depthwise_conv, size=3, padding="SAME", activation=tf.nn.relu6, regularize=False)
_conv = partial(conv, padding="SAME", activation=tf.nn.relu6)


def mobilenet_v1_layers(
    net: tf.Tensor, context: Context, *, depth_multiplier: float, min_depth: int, dropout_keep_prob: float
) -> tf.Tensor:
    """A convolution, and thirteen pairs of a depthwise and a 1x1 convolution, each of them normalized.

    The end points have slim's names: `Conv2d_0`, `Conv2d_1_depthwise`, `Conv2d_1_pointwise`, ...
    """

    def filters(number: int) -> int:
        return max(int(number * depth_multiplier), min_depth)

    def added(name: str, net: tf.Tensor) -> tf.Tensor:
        context.end_points[name] = net
        return net

    net = added("Conv2d_0", _conv(net, context, filters=filters(_V1_ROOT), size=3, stride=2, scope="Conv2d_0"))
    for number, (depth, stride) in enumerate(_V1_LAYERS, start=1):
        scope = f"Conv2d_{number}_depthwise"
        net = added(scope, _depthwise(net, context, stride=stride, scope=scope))
        scope = f"Conv2d_{number}_pointwise"
        net = added(scope, _conv(net, context, filters=filters(depth), size=1, scope=scope))
    with tf.compat.v1.variable_scope("Logits"):
        # slim's pooling of 7x7 pixels, which are all that there are of an image of 224x224.
        net = context.end_points["AvgPool_1a"] = global_pool(net, context)
    return _classified(net, context, dropout_keep_prob)


def mobilenet_v2_layers(
    net: tf.Tensor,
    context: Context,
    *,
    depth_multiplier: float,
    min_depth: int,
    finegrain_classification_mode: bool,
    dropout_keep_prob: float,
) -> tf.Tensor:
    """A convolution, the bottlenecks, and a 1x1 convolution, which is never narrowed in finegrain_classification_mode.

    The end points have slim's names: `layer_1` for the first convolution, then `layer_2`, `layer_2/depthwise_output`,
    `layer_2/output`, ..., from `layer_3` on `layer_3/expansion_output`, too.
    """
    number = 1
    filters = divisible(_V2_ROOT * depth_multiplier, min_depth)
    net = context.end_points["layer_1"] = _conv(net, context, filters=filters, size=3, stride=2, scope="Conv")
    for expansion, depth, repeats, first_stride in _V2_BLOCKS:
        filters = divisible(depth * depth_multiplier, min_depth)
        for stride in (first_stride,) + (1,) * (repeats - 1):
            number += 1
            with tf.compat.v1.variable_scope(f"expanded_conv_{number - 2}".removesuffix("_0")):
                net = _bottleneck(net, context, expansion, filters, stride, layer=f"layer_{number}")
    multiplier = max(1.0, depth_multiplier) if finegrain_classification_mode else depth_multiplier
    filters = divisible(_V2_LAST * multiplier, min_depth)
    net = _conv(net, context, filters=filters, size=1, scope="Conv_1")
    context.end_points[f"layer_{number + 1}"] = net
    return _classified(global_pool(net, context), context, dropout_keep_prob)


def divisible(number: float, least: int = _DIVISOR) -> int:
    """Return the nearest multiple of eight, at least `least`; the next one where that would lose more than a tenth."""
    nearest = max(least, int(number + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return nearest + _DIVISOR if nearest < _LARGEST_LOSS * number else nearest


def _bottleneck(
    net: tf.Tensor, context: Context, expansion: int, filters: int, stride: int, *, layer: str
) -> tf.Tensor:
    """1x1 to more channels, depthwise 3x3, 1x1 without activation; the input is added where it has the same shape."""
    inputs = net
    if expansion > 1:
        net = _conv(net, context, filters=divisible(context.channels(net) * expansion), size=1, scope="expand")
        context.end_points[f"{layer}/expansion_output"] = net
    net = context.end_points[f"{layer}/depthwise_output"] = _depthwise(net, context, stride=stride, scope="depthwise")
    net = _conv(net, context, filters=filters, size=1, activation=None, scope="project")
    if stride == 1 and context.channels(inputs) == filters:
        net += inputs
    context.end_points[layer] = context.end_points[f"{layer}/output"] = net
    return net


def _classified(net: tf.Tensor, context: Context, dropout_keep_prob: float) -> tf.Tensor:
    context.end_points["global_pool"] = net
    net = dropout(net, context, keep_prob=dropout_keep_prob)
    with tf.compat.v1.variable_scope("Logits"):
        net = conv(
            net, context, filters=context.num_classes, size=1, normalize=False, activation=None, scope="Conv2d_1c_1x1"
        )
    logits = context.end_points["Logits"] = tf.squeeze(net, context.spatial_axes)
    context.end_points["Predictions"] = tf.nn.softmax(logits)
    return logits


def _network(name: str, build: Any, *, scope: str, batch_norm_decay: float, **options: Any) -> ImageNetwork:
    return ImageNetwork(
        name=name,
        build=build,
        preprocess=scale_to_unit_range,
        scope=scope,
        options={"min_depth": _DIVISOR, **options},
        checks={
            "depth_multiplier": check_multiplier,
            "min_depth": check_count,
            "dropout_keep_prob": check_keep_prob,
            "finegrain_classification_mode": check_flag,
        },
        batch_norm_decay=batch_norm_decay,
        batch_norm_epsilon=_EPSILON,
        initializer=_INITIALIZER,
        layer_end_points=False,
    )


_v1 = partial(
    _network, build=mobilenet_v1_layers, scope="MobilenetV1", batch_norm_decay=0.9997, dropout_keep_prob=0.999
)
_v2 = partial(_network, build=mobilenet_v2_layers, scope="MobilenetV2", batch_norm_decay=0.997, dropout_keep_prob=0.8)

mobilenet_v1 = _v1("mobilenet_v1", depth_multiplier=1.0)
mobilenet_v1_075 = _v1("mobilenet_v1_075", depth_multiplier=0.75)
mobilenet_v1_050 = _v1("mobilenet_v1_050", depth_multiplier=0.5)
mobilenet_v1_025 = _v1("mobilenet_v1_025", depth_multiplier=0.25)
mobilenet_v2 = _v2("mobilenet_v2", depth_multiplier=1.0, finegrain_classification_mode=False)
mobilenet_v2_140 = _v2("mobilenet_v2_140", depth_multiplier=1.4, finegrain_classification_mode=False)
mobilenet_v2_035 = _v2("mobilenet_v2_035", depth_multiplier=0.35, finegrain_classification_mode=True)
