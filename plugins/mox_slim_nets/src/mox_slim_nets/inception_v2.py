"""Inception v2 (arXiv:1502.03167), as TF-slim has it: the first layer is a separable convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import tensorflow as tf
from attrs import evolve

from mox_core.networks.layers import separable_conv
from mox_slim_nets.inception import (
    Conv,
    Layer,
    Module,
    Pool,
    Stage,
    build_stages,
    convolved_logits,
    kept,
    network,
    normal,
    pooled,
    scaled,
    with_predictions,
)

if TYPE_CHECKING:
    from mox_core.networks.context import Context
    from mox_slim_nets.inception import Width

_REDUCE, _PROJECT = 0.09, 0.1
"""Standard deviations of the 1x1 convolutions before others, and of those behind a pooling."""

_AVERAGE: Final = Pool("avg")


def _mixed(
    single: int, second: tuple[int, int], third: tuple[int, int], pool: int, pooling: Layer = _AVERAGE
) -> Module:
    """A module: 1x1; 3x3 behind a reduction; two 3x3 behind a reduction; a projected pooling."""
    return (
        (Conv("0a", single),),
        (Conv("0a", second[0], stddev=_REDUCE), Conv("0b", second[1], 3)),
        (Conv("0a", third[0], stddev=_REDUCE), Conv("0b", third[1], 3), Conv("0c", third[1], 3)),
        (pooling, Conv("0b", pool, stddev=_PROJECT)),
    )


def _reduction(first: tuple[int, int], second: tuple[int, int]) -> Module:
    """A module that halves height and width."""
    return (
        (Conv("0a", first[0], stddev=_REDUCE), Conv("1a", first[1], 3, stride=2)),
        (Conv("0a", second[0], stddev=_REDUCE), Conv("0b", second[1], 3), Conv("1a", second[1], 3, stride=2)),
        (Pool("max", stride=2),),
    )


STAGES: Final[dict[str, Stage]] = {
    "MaxPool_2a_3x3": Pool("max", stride=2),
    "Conv2d_2b_1x1": Conv("2b", 64, stddev=_PROJECT),
    "Conv2d_2c_3x3": Conv("2c", 192, 3),
    "MaxPool_3a_3x3": Pool("max", stride=2),
    "Mixed_3b": _mixed(64, (64, 64), (64, 96), 32),
    "Mixed_3c": _mixed(64, (64, 96), (64, 96), 64),
    "Mixed_4a": _reduction((128, 160), (64, 96)),
    "Mixed_4b": _mixed(224, (64, 96), (96, 128), 128),
    "Mixed_4c": _mixed(192, (96, 128), (96, 128), 128),
    "Mixed_4d": _mixed(160, (128, 160), (128, 160), 96),
    "Mixed_4e": _mixed(96, (128, 192), (160, 192), 96),
    "Mixed_5a": _reduction((128, 192), (192, 256)),
    "Mixed_5b": _mixed(352, (192, 320), (160, 224), 128),
    "Mixed_5c": _mixed(352, (192, 320), (192, 224), 128, Pool("max")),
}


def _first(net: tf.Tensor, context: Context, width: Width) -> tf.Tensor:
    """Add the separable convolution, which in slim has biases, and no weight decay."""
    filters = width(64)
    name = "Conv2d_1a_7x7"
    net = separable_conv(
        net,
        evolve(context, weight_decay=0.0),
        filters=filters,
        size=7,
        stride=2,
        padding="SAME",
        multiplier=min(filters // 3, 8),
        normalize=False,
        initializer=normal(1.0),
        scope=name,
    )
    context.end_points[name] = net
    return net


def _layers(
    net: tf.Tensor,
    context: Context,
    *,
    dropout_keep_prob: float,
    global_pool: bool,
    depth_multiplier: float,
    min_depth: int,
) -> tf.Tensor:
    del global_pool  # always
    width = scaled(depth_multiplier, min_depth)
    net = build_stages(_first(net, context, width), context, STAGES, width)
    with tf.compat.v1.variable_scope("Logits"):
        net = kept(pooled(net, context), context, dropout_keep_prob)
        logits = convolved_logits(net, context, scope="Conv2d_1c_1x1")
    return with_predictions(logits, context)


inception_v2 = network(
    "inception_v2",
    "InceptionV2",
    _layers,
    options={"dropout_keep_prob": 0.8, "global_pool": False, "depth_multiplier": 1.0, "min_depth": 16},
)
