"""Inception-ResNet v2 (arXiv:1602.07261), as TF-slim has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import tensorflow as tf
from attrs import frozen

from mox_core.networks.context import GLOROT
from mox_core.networks.layers import conv, dropout, fully_connected
from mox_slim_nets.inception import (
    Conv,
    Module,
    Pool,
    Stage,
    auxiliary,
    build_branches,
    build_stages,
    network,
    pooled,
    with_predictions,
)

if TYPE_CHECKING:
    from mox_core.networks.context import Context

_HALVED: Final = Pool("max", stride=2, padding="VALID")


@frozen
class Block:
    """A residual block: what its branches give is brought to the depth of the input, scaled and added to it."""

    scale: float
    branches: Module


_BLOCK_35: Final = Block(
    0.17,
    (
        (Conv("", 32),),
        (Conv("0a", 32), Conv("0b", 32, 3)),
        (Conv("0a", 32), Conv("0b", 48, 3), Conv("0c", 64, 3)),
    ),
)
_BLOCK_17: Final = Block(0.10, ((Conv("", 192),), (Conv("0a", 128), Conv("0b", 160, (1, 7)), Conv("0c", 192, (7, 1)))))
_BLOCK_8: Final = Block(0.20, ((Conv("", 192),), (Conv("0a", 192), Conv("0b", 224, (1, 3)), Conv("0c", 256, (3, 1)))))
_LAST_BLOCK: Final = Block(1.0, _BLOCK_8.branches)

_STEM: Final[dict[str, Stage]] = {
    "Conv2d_1a_3x3": Conv("1a", 32, 3, stride=2, padding="VALID"),
    "Conv2d_2a_3x3": Conv("2a", 32, 3, padding="VALID"),
    "Conv2d_2b_3x3": Conv("2b", 64, 3),
    "MaxPool_3a_3x3": _HALVED,
    "Conv2d_3b_1x1": Conv("3b", 80),
    "Conv2d_4a_3x3": Conv("4a", 192, 3, padding="VALID"),
    "MaxPool_5a_3x3": _HALVED,
    "Mixed_5b": (
        (Conv("", 96),),
        (Conv("0a", 48), Conv("0b", 64, 5)),
        (Conv("0a", 64), Conv("0b", 96, 3), Conv("0c", 96, 3)),
        (Pool("avg"), Conv("0b", 64)),
    ),
}
_REDUCTION_A: Final[dict[str, Stage]] = {
    "Mixed_6a": (
        (Conv("1a", 384, 3, stride=2, padding="VALID"),),
        (Conv("0a", 256), Conv("0b", 256, 3), Conv("1a", 384, 3, stride=2, padding="VALID")),
        (_HALVED,),
    ),
}
_REDUCTION_B: Final[dict[str, Stage]] = {
    "Mixed_7a": (
        (Conv("0a", 256), Conv("1a", 384, 3, stride=2, padding="VALID")),
        (Conv("0a", 256), Conv("1a", 288, 3, stride=2, padding="VALID")),
        (Conv("0a", 256), Conv("0b", 288, 3), Conv("1a", 320, 3, stride=2, padding="VALID")),
        (_HALVED,),
    ),
}
_LAST: Final[dict[str, Stage]] = {"Conv2d_7b_1x1": Conv("7b", 1536)}


def _block(net: tf.Tensor, context: Context, block: Block, *, scope: str, activate: bool = True) -> tf.Tensor:
    with tf.compat.v1.variable_scope(scope):
        mixed = build_branches(net, context, block.branches, int)
        depth = context.channels(net)
        residual = conv(mixed, context, filters=depth, size=1, normalize=False, activation=None, scope="Conv2d_1x1")
        net = net + block.scale * residual
        return tf.nn.relu(net) if activate else net


def _repeated(net: tf.Tensor, context: Context, times: int, block: Block, *, scope: str, name: str) -> tf.Tensor:
    with tf.compat.v1.variable_scope(scope):
        for number in range(times):
            net = _block(net, context, block, scope=f"{name}_{number + 1}")
    return net


def _dense(net: tf.Tensor, context: Context) -> tf.Tensor:
    return fully_connected(net, context, units=context.num_classes, activation=None, scope="Logits")


def _layers(net: tf.Tensor, context: Context, *, dropout_keep_prob: float, create_aux_logits: bool) -> tf.Tensor:
    points = context.end_points
    net = build_stages(net, context, _STEM)
    net = _repeated(net, context, 10, _BLOCK_35, scope="Repeat", name="block35")
    net = build_stages(net, context, _REDUCTION_A)
    net = points["PreAuxLogits"] = _repeated(net, context, 20, _BLOCK_17, scope="Repeat_1", name="block17")
    if create_aux_logits and context.does_loss:
        with tf.compat.v1.variable_scope("AuxLogits"):
            aux = tf.reduce_mean(auxiliary(net, context, scope="Conv2d_2a_5x5"), context.spatial_axes)
            points["AuxLogits"] = _dense(aux, context)
    net = build_stages(net, context, _REDUCTION_B)
    net = _repeated(net, context, 9, _BLOCK_8, scope="Repeat_2", name="block8")
    net = _block(net, context, _LAST_BLOCK, scope="Block8", activate=False)
    net = build_stages(net, context, _LAST)
    with tf.compat.v1.variable_scope("Logits"):
        net = tf.squeeze(pooled(net, context), context.spatial_axes)
        net = points["PreLogitsFlatten"] = dropout(net, context, keep_prob=dropout_keep_prob)
        logits = _dense(net, context)
    return with_predictions(logits, context)


inception_resnet_v2 = network(
    "inception_resnet_v2",
    "InceptionResnetV2",
    _layers,
    options={"dropout_keep_prob": 0.8, "create_aux_logits": True},
    initializer=GLOROT,
    decays_biases=True,
)
