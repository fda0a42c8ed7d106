"""The residual networks as data, and the units that they are built of.

The bottleneck networks are TF-slim's: v1 of He et al. 2015 (arXiv:1512.03385), v2 of He et al. 2016 (arXiv:1603.05027),
with the stride in the last unit of a block. The networks of two-layer units follow He et al. 2015, with the stride in
the first unit of a block: 18 and 34 its table 1, with projections where the shape changes (option B); 20 and 110 its
section 4.2, with shortcuts that have no parameters (option A: every second pixel, zeros for the new channels).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf
from attrs import frozen

from mox_core.networks.layers import batch_norm, conv, max_pool, pad_channels, subsample

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_core.networks.context import Context

_SLIM_DECAY = 0.997
# Small data sets have epochs of some ten steps: with slim's decay the initial averages would count for a thousand.
_SMALL_DECAY = 0.9


def bottleneck_v1(net: tf.Tensor, context: Context, depth: int, stride: int) -> tf.Tensor:
    """1x1, 3x3, 1x1, added to the shortcut, then ReLU."""
    with tf.compat.v1.variable_scope("bottleneck_v1") as scope:
        if context.channels(net) == depth:
            shortcut = subsample(net, context, stride)
        else:
            shortcut = conv(net, context, filters=depth, size=1, stride=stride, activation=None, scope="shortcut")
        residual = conv(net, context, filters=depth // 4, size=1, scope="conv1")
        residual = conv(residual, context, filters=depth // 4, size=3, stride=stride, scope="conv2")
        residual = conv(residual, context, filters=depth, size=1, activation=None, scope="conv3")
        net = tf.nn.relu(shortcut + residual)
    context.end_points[scope.name] = net
    return net


def bottleneck_v2(net: tf.Tensor, context: Context, depth: int, stride: int) -> tf.Tensor:
    """The layers of `bottleneck_v1` with normalization and ReLU before each convolution, and none after the sum."""
    with tf.compat.v1.variable_scope("bottleneck_v2") as scope:
        preact = tf.nn.relu(batch_norm(net, context, scope="preact"))
        if context.channels(net) == depth:
            shortcut = subsample(net, context, stride)
        else:
            shortcut = conv(
                preact,
                context,
                filters=depth,
                size=1,
                stride=stride,
                normalize=False,
                activation=None,
                scope="shortcut",
            )
        residual = conv(preact, context, filters=depth // 4, size=1, scope="conv1")
        residual = conv(residual, context, filters=depth // 4, size=3, stride=stride, scope="conv2")
        residual = conv(residual, context, filters=depth, size=1, normalize=False, activation=None, scope="conv3")
        net = shortcut + residual
    context.end_points[scope.name] = net
    return net


def basic_v1_projected(net: tf.Tensor, context: Context, depth: int, stride: int) -> tf.Tensor:
    """Two 3x3 layers, with a 1x1 convolution as the shortcut where the shape changes (option B)."""
    with tf.compat.v1.variable_scope("basic_v1") as scope:
        if context.channels(net) == depth:
            shortcut = subsample(net, context, stride)
        else:
            shortcut = conv(net, context, filters=depth, size=1, stride=stride, activation=None, scope="shortcut")
        net = _two_layers(net, shortcut, context, depth, stride)
    context.end_points[scope.name] = net
    return net


def basic_v1_padded(net: tf.Tensor, context: Context, depth: int, stride: int) -> tf.Tensor:
    """Two 3x3 layers, with a shortcut that has no parameters (option A)."""
    with tf.compat.v1.variable_scope("basic_v1") as scope:
        shortcut = subsample(net, context, stride)
        if context.channels(net) != depth:
            shortcut = pad_channels(shortcut, context, depth)
        net = _two_layers(net, shortcut, context, depth, stride)
    context.end_points[scope.name] = net
    return net


def _two_layers(net: tf.Tensor, shortcut: tf.Tensor, context: Context, depth: int, stride: int) -> tf.Tensor:
    residual = conv(net, context, filters=depth, size=3, stride=stride, scope="conv1")
    residual = conv(residual, context, filters=depth, size=3, activation=None, scope="conv2")
    return tf.nn.relu(shortcut + residual)


def root_v1(net: tf.Tensor, context: Context) -> tf.Tensor:
    """A 7x7 convolution with 64 filters and stride 2, and the pooling."""
    return max_pool(conv(net, context, filters=64, size=7, stride=2, scope="conv1"), context)


def root_v2(net: tf.Tensor, context: Context) -> tf.Tensor:
    """The layers of `root_v1` without normalization and ReLU, which the first unit has."""
    net = conv(net, context, filters=64, size=7, stride=2, normalize=False, activation=None, scope="conv1")
    return max_pool(net, context)


def root_cifar(net: tf.Tensor, context: Context) -> tf.Tensor:
    """A 3x3 convolution with 16 filters and stride 1."""
    return conv(net, context, filters=16, size=3, scope="conv1")


def _bottleneck_v1(name: str, *units: int) -> Architecture:
    return Architecture(name=name, root=root_v1, unit=bottleneck_v1, blocks=_bottleneck_blocks(units))


def _bottleneck_v2(name: str, *units: int) -> Architecture:
    return Architecture(name=name, root=root_v2, unit=bottleneck_v2, blocks=_bottleneck_blocks(units), postnorm=True)


def _basic(name: str, *units: int) -> Architecture:
    return Architecture(name=name, root=root_v1, unit=basic_v1_projected, blocks=_basic_blocks(64, units))


def _cifar(name: str, units: int) -> Architecture:
    return Architecture(
        name=name,
        root=root_cifar,
        unit=basic_v1_padded,
        blocks=_basic_blocks(16, (units,) * 3),
        batch_norm_decay=_SMALL_DECAY,
    )


def _bottleneck_blocks(units: tuple[int, ...]) -> tuple[Block, ...]:
    last = len(units) - 1
    return tuple(
        Block(depth=256 * 2**i, strides=(1,) * (n - 1) + (1 if i == last else 2,)) for i, n in enumerate(units)
    )


def _basic_blocks(depth: int, units: tuple[int, ...]) -> tuple[Block, ...]:
    return tuple(Block(depth=depth * 2**i, strides=(2 if i else 1,) + (1,) * (n - 1)) for i, n in enumerate(units))


@frozen
class Block:
    """Units of one depth.

    Attributes:
        depth: the number of output channels.
        strides: the stride of each unit.
    """

    depth: int
    strides: tuple[int, ...]


@frozen
class Architecture:
    """A network up to its pooling.

    Attributes:
        name: of the network, and the scope of its variables.
        root: the layers before the first block.
        unit: function (net, context, depth, stride) that adds one unit.
        blocks: the units, in blocks.
        postnorm: whether normalization and ReLU follow the last block, as in v2.
        batch_norm_decay: the decay of the moving averages.
    """

    name: str
    root: Callable[[tf.Tensor, Context], tf.Tensor]
    unit: Callable[[tf.Tensor, Context, int, int], tf.Tensor]
    blocks: tuple[Block, ...]
    postnorm: bool = False
    batch_norm_decay: float = _SLIM_DECAY


RESNET_V1_18 = _basic("resnet_v1_18", 2, 2, 2, 2)
RESNET_V1_20 = _cifar("resnet_v1_20", 3)
RESNET_V1_34 = _basic("resnet_v1_34", 3, 4, 6, 3)
RESNET_V1_50 = _bottleneck_v1("resnet_v1_50", 3, 4, 6, 3)
RESNET_V1_101 = _bottleneck_v1("resnet_v1_101", 3, 4, 23, 3)
RESNET_V1_110 = _cifar("resnet_v1_110", 18)
RESNET_V1_152 = _bottleneck_v1("resnet_v1_152", 3, 8, 36, 3)
RESNET_V1_200 = _bottleneck_v1("resnet_v1_200", 3, 24, 36, 3)
RESNET_V2_50 = _bottleneck_v2("resnet_v2_50", 3, 4, 6, 3)
RESNET_V2_101 = _bottleneck_v2("resnet_v2_101", 3, 4, 23, 3)
RESNET_V2_152 = _bottleneck_v2("resnet_v2_152", 3, 8, 36, 3)
RESNET_V2_200 = _bottleneck_v2("resnet_v2_200", 3, 24, 36, 3)
