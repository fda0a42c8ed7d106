"""Inception v3 (arXiv:1512.00567), as TF-slim has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import tensorflow as tf

from mox_slim_nets.inception import (
    Conv,
    Fork,
    Module,
    Pool,
    Stage,
    auxiliary,
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


def _mixed_5(pool: int, second: tuple[Conv, Conv] = (Conv("0a", 48), Conv("0b", 64, 5))) -> Module:
    """A module with 5x5 (figure 5 of the paper, of which one branch stays as it was)."""
    return (
        (Conv("0a", 64),),
        second,
        (Conv("0a", 64), Conv("0b", 96, 3), Conv("0c", 96, 3)),
        (Pool("avg"), Conv("0b", pool)),
    )


def _mixed_6(filters: int) -> Module:
    """A module of 1x7 and 7x1 (figure 6)."""
    row, column = (1, 7), (7, 1)
    return (
        (Conv("0a", 192),),
        (Conv("0a", filters), Conv("0b", filters, row), Conv("0c", 192, column)),
        (
            Conv("0a", filters),
            Conv("0b", filters, column),
            Conv("0c", filters, row),
            Conv("0d", filters, column),
            Conv("0e", 192, row),
        ),
        (Pool("avg"), Conv("0b", 192)),
    )


def _mixed_7(place: str) -> Module:
    """A module whose branches fork at their ends (figure 7)."""
    row, column = (1, 3), (3, 1)
    return (
        (Conv("0a", 320),),
        (Conv("0a", 384), Fork((Conv("0b", 384, row), Conv(place, 384, column)))),
        (Conv("0a", 448), Conv("0b", 384, 3), Fork((Conv("0c", 384, row), Conv("0d", 384, column)))),
        (Pool("avg"), Conv("0b", 192)),
    )


# Some scopes say another size or place than the layer has: so they stand in slim's checkpoints.
STAGES: Final[dict[str, Stage]] = {
    "Conv2d_1a_3x3": Conv("1a", 32, 3, stride=2, padding="VALID"),
    "Conv2d_2a_3x3": Conv("2a", 32, 3, padding="VALID"),
    "Conv2d_2b_3x3": Conv("2b", 64, 3),
    "MaxPool_3a_3x3": Pool("max", stride=2, padding="VALID"),
    "Conv2d_3b_1x1": Conv("3b", 80),
    "Conv2d_4a_3x3": Conv("4a", 192, 3, padding="VALID"),
    "MaxPool_5a_3x3": Pool("max", stride=2, padding="VALID"),
    "Mixed_5b": _mixed_5(32),
    "Mixed_5c": _mixed_5(64, (Conv("0b", 48), Conv("0c", 64, 5, scope="Conv_1_0c_5x5"))),
    "Mixed_5d": _mixed_5(64),
    "Mixed_6a": (
        (Conv("1a", 384, 3, stride=2, padding="VALID", scope="Conv2d_1a_1x1"),),
        (
            Conv("0a", 64),
            Conv("0b", 96, 3),
            Conv("1a", 96, 3, stride=2, padding="VALID", scope="Conv2d_1a_1x1"),
        ),
        (Pool("max", stride=2, padding="VALID"),),
    ),
    "Mixed_6b": _mixed_6(128),
    "Mixed_6c": _mixed_6(160),
    "Mixed_6d": _mixed_6(160),
    "Mixed_6e": _mixed_6(192),
    "Mixed_7a": (
        (Conv("0a", 192), Conv("1a", 320, 3, stride=2, padding="VALID")),
        (
            Conv("0a", 192),
            Conv("0b", 192, (1, 7)),
            Conv("0c", 192, (7, 1)),
            Conv("1a", 192, 3, stride=2, padding="VALID"),
        ),
        (Pool("max", stride=2, padding="VALID"),),
    ),
    "Mixed_7b": _mixed_7("0b"),
    "Mixed_7c": _mixed_7("0c"),
}


def _auxiliary_logits(net: tf.Tensor, context: Context, width: Width) -> tf.Tensor:
    with tf.compat.v1.variable_scope("AuxLogits"):
        net = auxiliary(net, context, scope="Conv2d_2a_{size}", width=width, initializer=normal(0.01))
        return convolved_logits(net, context, scope="Conv2d_2b_1x1", initializer=normal(0.001))


def _layers(
    net: tf.Tensor,
    context: Context,
    *,
    dropout_keep_prob: float,
    global_pool: bool,
    depth_multiplier: float,
    min_depth: int,
    create_aux_logits: bool,
) -> tf.Tensor:
    del global_pool  # always
    width = scaled(depth_multiplier, min_depth)
    net = build_stages(net, context, STAGES, width)
    if create_aux_logits and context.does_loss:
        context.end_points["AuxLogits"] = _auxiliary_logits(context.end_points["Mixed_6e"], context, width)
    with tf.compat.v1.variable_scope("Logits"):
        net = kept(pooled(net, context), context, dropout_keep_prob)
        logits = convolved_logits(net, context, scope="Conv2d_1c_1x1")
    return with_predictions(logits, context)


inception_v3 = network(
    "inception_v3",
    "InceptionV3",
    _layers,
    options={
        "dropout_keep_prob": 0.8,
        "global_pool": False,
        "depth_multiplier": 1.0,
        "min_depth": 16,
        "create_aux_logits": True,
    },
)
