"""Inception v4 (arXiv:1602.07261), as TF-slim has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import tensorflow as tf

from mox_core.networks.context import GLOROT
from mox_core.networks.layers import dropout, fully_connected
from mox_slim_nets.inception import (
    Conv,
    Fork,
    Module,
    Pool,
    Stage,
    auxiliary,
    build_stages,
    network,
    pooled,
    with_predictions,
)

if TYPE_CHECKING:
    from mox_core.networks.context import Context

_ROW, _COLUMN = (1, 7), (7, 1)
_HALVED: Final = Pool("max", stride=2, padding="VALID")

_INCEPTION_A: Final[Module] = (
    (Conv("0a", 96),),
    (Conv("0a", 64), Conv("0b", 96, 3)),
    (Conv("0a", 64), Conv("0b", 96, 3), Conv("0c", 96, 3)),
    (Pool("avg"), Conv("0b", 96)),
)
"""Figure 4 of the paper."""

_REDUCTION_A: Final[Module] = (
    (Conv("1a", 384, 3, stride=2, padding="VALID"),),
    (Conv("0a", 192), Conv("0b", 224, 3), Conv("1a", 256, 3, stride=2, padding="VALID")),
    (_HALVED,),
)
"""Figure 7."""

_INCEPTION_B: Final[Module] = (
    (Conv("0a", 384),),
    (Conv("0a", 192), Conv("0b", 224, _ROW), Conv("0c", 256, _COLUMN)),
    (
        Conv("0a", 192),
        Conv("0b", 192, _COLUMN),
        Conv("0c", 224, _ROW),
        Conv("0d", 224, _COLUMN),
        Conv("0e", 256, _ROW),
    ),
    (Pool("avg"), Conv("0b", 128)),
)
"""Figure 5."""

_REDUCTION_B: Final[Module] = (
    (Conv("0a", 192), Conv("1a", 192, 3, stride=2, padding="VALID")),
    (
        Conv("0a", 256),
        Conv("0b", 256, _ROW),
        Conv("0c", 320, _COLUMN),
        Conv("1a", 320, 3, stride=2, padding="VALID"),
    ),
    (_HALVED,),
)
"""Figure 8."""

_INCEPTION_C: Final[Module] = (
    (Conv("0a", 256),),
    (Conv("0a", 384), Fork((Conv("0b", 256, (1, 3)), Conv("0c", 256, (3, 1))))),
    (
        Conv("0a", 384),
        Conv("0b", 448, (3, 1)),
        Conv("0c", 512, (1, 3)),
        Fork((Conv("0d", 256, (1, 3)), Conv("0e", 256, (3, 1)))),
    ),
    (Pool("avg"), Conv("0b", 256)),
)
"""Figure 6."""

STAGES: Final[dict[str, Stage]] = {
    "Conv2d_1a_3x3": Conv("1a", 32, 3, stride=2, padding="VALID"),
    "Conv2d_2a_3x3": Conv("2a", 32, 3, padding="VALID"),
    "Conv2d_2b_3x3": Conv("2b", 64, 3),
    "Mixed_3a": ((_HALVED,), (Conv("0a", 96, 3, stride=2, padding="VALID"),)),
    "Mixed_4a": (
        (Conv("0a", 64), Conv("1a", 96, 3, padding="VALID")),
        (Conv("0a", 64), Conv("0b", 64, _ROW), Conv("0c", 64, _COLUMN), Conv("1a", 96, 3, padding="VALID")),
    ),
    "Mixed_5a": ((Conv("1a", 192, 3, stride=2, padding="VALID"),), (_HALVED,)),
    **{f"Mixed_5{letter}": _INCEPTION_A for letter in "bcde"},
    "Mixed_6a": _REDUCTION_A,
    **{f"Mixed_6{letter}": _INCEPTION_B for letter in "bcdefgh"},
    "Mixed_7a": _REDUCTION_B,
    **{f"Mixed_7{letter}": _INCEPTION_C for letter in "bcd"},
}


def _auxiliary_logits(net: tf.Tensor, context: Context) -> tf.Tensor:
    with tf.compat.v1.variable_scope("AuxLogits"):
        net = tf.reduce_mean(auxiliary(net, context, scope="Conv2d_2a"), context.spatial_axes)
        return _dense(net, context, scope="Aux_logits")


def _dense(net: tf.Tensor, context: Context, *, scope: str) -> tf.Tensor:
    return fully_connected(net, context, units=context.num_classes, activation=None, initializer=GLOROT, scope=scope)


def _layers(net: tf.Tensor, context: Context, *, dropout_keep_prob: float, create_aux_logits: bool) -> tf.Tensor:
    net = build_stages(net, context, STAGES)
    if create_aux_logits and context.does_loss:
        context.end_points["AuxLogits"] = _auxiliary_logits(context.end_points["Mixed_6h"], context)
    with tf.compat.v1.variable_scope("Logits"):
        net = dropout(pooled(net, context), context, keep_prob=dropout_keep_prob)
        net = context.end_points["PreLogitsFlatten"] = tf.squeeze(net, context.spatial_axes)
        logits = _dense(net, context, scope="Logits")
    return with_predictions(logits, context)


inception_v4 = network(
    "inception_v4", "InceptionV4", _layers, options={"dropout_keep_prob": 0.8, "create_aux_logits": True}
)
