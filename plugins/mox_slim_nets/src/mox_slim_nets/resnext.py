"""ResNeXt of Xie et al. 2016 (arXiv:1611.05431), with 32 paths that are 4 filters wide in the first block (32x4d).

The networks of two of the three equivalent forms of its figure 3 have the same variables and the same results: form b
computes the 3x3 convolutions of the paths one by one and puts them side by side, form c as one grouped convolution. The
1x1 convolutions of the paths are one convolution in both, as they see the same input.

The rest is ResNet v1 as the paper has it, with the stride in the 3x3 convolution of the first unit of a block. TF-slim
has no such networks: the names of the variables follow its ResNets.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import tensorflow as tf

from mox_core.networks.image_network import ImageNetwork
from mox_core.networks.layers import conv, global_pool, max_pool
from mox_core.networks.preprocessing import subtract_vgg_means

if TYPE_CHECKING:
    from mox_core.networks.context import Context

_PATHS: Final = 32
_WIDTH: Final = 4
_DEPTH: Final = 256


def resnext_layers(units: tuple[int, ...], net: tf.Tensor, context: Context, *, one_by_one: bool) -> tf.Tensor:
    """A 7x7 convolution, a pooling, the units in blocks, the mean over the pixels, and a 1x1 convolution.

    The end points are the outputs of layers, units and blocks by the name of their variable scope, and 'global_pool',
    '<network>/logits' and 'predictions'.
    """
    net = max_pool(conv(net, context, filters=64, size=7, stride=2, scope="conv1"), context)
    for block, number in enumerate(units):
        with tf.compat.v1.variable_scope(f"block{block + 1}") as scope:
            for unit in range(number):
                with tf.compat.v1.variable_scope(f"unit_{unit + 1}/resnext") as unit_scope:
                    stride = 2 if block and not unit else 1
                    net = _unit(net, context, scale=2**block, stride=stride, one_by_one=one_by_one)
                context.end_points[unit_scope.name] = net
        context.end_points[scope.name] = net
    net = context.end_points["global_pool"] = global_pool(net, context)
    net = conv(net, context, filters=context.num_classes, size=1, normalize=False, activation=None, scope="logits")
    logits = tf.squeeze(net, context.spatial_axes)
    context.end_points["predictions"] = tf.nn.softmax(logits)
    return logits


def _unit(net: tf.Tensor, context: Context, *, scale: int, stride: int, one_by_one: bool) -> tf.Tensor:
    """1x1, 3x3 in 32 groups, 1x1, added to the input or its projection, then ReLU."""
    depth, width = _DEPTH * scale, _PATHS * _WIDTH * scale
    shortcut = net
    if context.channels(net) != depth:
        shortcut = conv(net, context, filters=depth, size=1, stride=stride, activation=None, scope="shortcut")
    net = conv(net, context, filters=width, size=1, scope="conv1")
    net = conv(
        net,
        context,
        filters=width,
        size=3,
        stride=stride,
        groups=_PATHS,
        one_by_one=one_by_one,
        scope="conv2",
    )
    net = conv(net, context, filters=depth, size=1, activation=None, scope="conv3")
    return tf.nn.relu(shortcut + net)


def _resnext(name: str, *units: int, one_by_one: bool) -> ImageNetwork:
    build = partial(resnext_layers, units, one_by_one=one_by_one)
    return ImageNetwork(name=name, build=build, preprocess=subtract_vgg_means)


resnext_b_50 = _resnext("resnext_b_50", 3, 4, 6, 3, one_by_one=True)
resnext_b_101 = _resnext("resnext_b_101", 3, 4, 23, 3, one_by_one=True)
resnext_c_50 = _resnext("resnext_c_50", 3, 4, 6, 3, one_by_one=False)
resnext_c_101 = _resnext("resnext_c_101", 3, 4, 23, 3, one_by_one=False)
