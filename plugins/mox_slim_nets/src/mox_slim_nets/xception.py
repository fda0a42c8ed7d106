"""Xception (arXiv:1610.02357) as DeepLab has modified it (arXiv:1802.02611): deeper, without poolings.

The variables have the names of DeepLab's checkpoints. Kernels of depthwise convolutions have no weight decay.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import tensorflow as tf
from attrs import frozen

from mox_core.networks.checks import check_keep_prob
from mox_core.networks.image_network import ImageNetwork
from mox_core.networks.layers import conv, depthwise_conv, dropout, global_pool
from mox_core.networks.preprocessing import scale_to_unit_range

if TYPE_CHECKING:
    from mox_core.networks.context import Context

_INITIALIZER: Final = tf.compat.v1.truncated_normal_initializer(stddev=0.09)


@frozen
class Block:
    """Modules of three separable convolutions each, which are alike.

    Attributes:
        scope: of its variables.
        filters: of each of the three.
        stride: of the last of them.
        skip: what is added to their output: a 1x1 convolution of the input, the input itself, or nothing.
        modules: the number of modules.
        activates: whether ReLU follows the depthwise and the 1x1 convolutions, instead of standing before each pair.
    """

    scope: str
    filters: tuple[int, int, int]
    stride: int = 1
    skip: Literal["conv", "sum", "none"] = "conv"
    modules: int = 1
    activates: bool = False


def xception_layers(blocks: tuple[Block, ...], net: tf.Tensor, context: Context, *, keep_prob: float) -> tf.Tensor:
    """Two convolutions, the blocks, the mean over the pixels, and a 1x1 convolution.

    The end points are the outputs of layers, modules and blocks by the name of their variable scope, and 'global_pool',
    '<network>/logits' and 'predictions'.
    """
    net = conv(net, context, filters=32, size=3, stride=2, scope="entry_flow/conv1_1")
    net = conv(net, context, filters=64, size=3, scope="entry_flow/conv1_2")
    for block in blocks:
        with tf.compat.v1.variable_scope(block.scope) as scope:
            for number in range(1, block.modules + 1):
                with tf.compat.v1.variable_scope(f"unit_{number}/xception_module") as module:
                    net = _module(block, net, context)
                context.end_points[module.name] = net
        context.end_points[scope.name] = net
    net = context.end_points["global_pool"] = global_pool(net, context)
    net = dropout(net, context, keep_prob=keep_prob)
    net = conv(net, context, filters=context.num_classes, size=1, normalize=False, activation=None, scope="logits")
    logits = tf.squeeze(net, context.spatial_axes)
    context.end_points["predictions"] = tf.nn.softmax(logits)
    return logits


def _module(block: Block, net: tf.Tensor, context: Context) -> tf.Tensor:
    inputs = net
    activation = tf.nn.relu if block.activates else None
    for number, filters in enumerate(block.filters, start=1):
        net = net if block.activates else tf.nn.relu(net)
        stride = block.stride if number == len(block.filters) else 1
        scope = f"separable_conv{number}"
        net = depthwise_conv(
            net,
            context,
            size=3,
            stride=stride,
            activation=activation,
            regularize=False,
            scope=f"{scope}_depthwise",
        )
        net = conv(net, context, filters=filters, size=1, activation=activation, scope=f"{scope}_pointwise")
    if block.skip == "conv":
        filters = block.filters[-1]
        net += conv(inputs, context, filters=filters, size=1, stride=block.stride, activation=None, scope="shortcut")
    elif block.skip == "sum":
        net += inputs
    return net


def _xception(name: str, *entry: tuple[int, int], middle: int) -> ImageNetwork:
    """Return a network: filters and stride of each block of the entry flow, and the number of modules in the middle."""
    numbered = enumerate(entry, start=1)
    blocks = (
        *(Block(f"entry_flow/block{number}", (filters,) * 3, stride) for number, (filters, stride) in numbered),
        Block("middle_flow/block1", (728, 728, 728), skip="sum", modules=middle),
        Block("exit_flow/block1", (728, 1024, 1024), stride=2),
        Block("exit_flow/block2", (1536, 1536, 2048), skip="none", activates=True),
    )
    return ImageNetwork(
        name=name,
        build=partial(xception_layers, blocks),
        preprocess=scale_to_unit_range,
        options={"keep_prob": 0.5},
        checks={"keep_prob": check_keep_prob},
        batch_norm_decay=0.9997,
        batch_norm_epsilon=1e-3,
        initializer=_INITIALIZER,
    )


xception_41 = _xception("xception_41", (128, 2), (256, 2), (728, 2), middle=8)
xception_65 = _xception("xception_65", (128, 2), (256, 2), (728, 2), middle=16)
xception_71 = _xception("xception_71", (128, 2), (256, 1), (256, 2), (728, 1), (728, 2), middle=16)
