"""Inception v1, GoogLeNet (arXiv:1409.4842), with batch normalization, as TF-slim has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import tensorflow as tf

from mox_slim_nets.inception import (
    Conv,
    Module,
    Pool,
    Stage,
    build_stages,
    convolved_logits,
    kept,
    network,
    pooled,
    with_predictions,
)

if TYPE_CHECKING:
    from mox_core.networks.context import Context

_STDDEV = 0.01


def _mixed(single: int, second: tuple[int, int], third: tuple[int, int], pool: int, *, place: str = "0b") -> Module:
    """A module of the paper's table 1: its 1x1, its 3x3 and "5x5" behind reductions, and its projected pooling.

    The third branch has 3x3 where the paper has 5x5.
    """
    return (
        (Conv("0a", single, stddev=_STDDEV),),
        (Conv("0a", second[0], stddev=_STDDEV), Conv("0b", second[1], 3, stddev=_STDDEV)),
        (Conv("0a", third[0], stddev=_STDDEV), Conv(place, third[1], 3, stddev=_STDDEV)),
        (Pool("max"), Conv("0b", pool, stddev=_STDDEV)),
    )


STAGES: Final[dict[str, Stage]] = {
    "Conv2d_1a_7x7": Conv("1a", 64, 7, stride=2, stddev=_STDDEV),
    "MaxPool_2a_3x3": Pool("max", stride=2),
    "Conv2d_2b_1x1": Conv("2b", 64, stddev=_STDDEV),
    "Conv2d_2c_3x3": Conv("2c", 192, 3, stddev=_STDDEV),
    "MaxPool_3a_3x3": Pool("max", stride=2),
    "Mixed_3b": _mixed(64, (96, 128), (16, 32), 32),
    "Mixed_3c": _mixed(128, (128, 192), (32, 96), 64),
    "MaxPool_4a_3x3": Pool("max", stride=2),
    "Mixed_4b": _mixed(192, (96, 208), (16, 48), 64),
    "Mixed_4c": _mixed(160, (112, 224), (24, 64), 64),
    "Mixed_4d": _mixed(128, (128, 256), (24, 64), 64),
    "Mixed_4e": _mixed(112, (144, 288), (32, 64), 64),
    "Mixed_4f": _mixed(256, (160, 320), (32, 128), 128),
    "MaxPool_5a_2x2": Pool("max", 2, stride=2),
    "Mixed_5b": _mixed(256, (160, 320), (32, 128), 128, place="0a"),  # so slim's checkpoints have it
    "Mixed_5c": _mixed(384, (192, 384), (48, 128), 128),
}


def _layers(net: tf.Tensor, context: Context, *, dropout_keep_prob: float, global_pool: bool) -> tf.Tensor:
    del global_pool  # always
    net = build_stages(net, context, STAGES)
    with tf.compat.v1.variable_scope("Logits"):
        net = kept(pooled(net, context), context, dropout_keep_prob)
        logits = convolved_logits(net, context, scope="Conv2d_0c_1x1")
    return with_predictions(logits, context)


inception_v1 = network("inception_v1", "InceptionV1", _layers, options={"dropout_keep_prob": 0.8, "global_pool": False})
