"""The end points of a model of keras.applications."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import keras
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Sequence

_BEFORE_THE_NETWORK: Final = (keras.layers.InputLayer, keras.layers.Normalization, keras.layers.Rescaling)
_MERGE: Final = re.compile(r"(add|custom_scale_layer)(_\d+)?")
"""Matches the layers without a name of their own that end a block."""


def compute(
    model: Any, begin: Any, net: tf.Tensor, blocks: Sequence[str], *, training: bool
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Compute a model of keras.applications; return its logits and end points.

    Args:
        model: a functional model, whose output are logits.
        begin: the symbolic tensor in it, its input as a rule, whose place the images take.
        net: the images.
        blocks: patterns of the names of layers, with the name of a block as their group.
        training: whether it is trained.
    """
    symbolic = {each.name: each.output for each in model.layers if not isinstance(each, _BEFORE_THE_NETWORK)}
    for pattern in blocks:
        symbolic |= _blocks(model, re.compile(pattern))
    # A block's output is that of a layer too, and Keras takes each of them once.
    distinct = {id(each): each for each in (*symbolic.values(), _features(model), model.output)}
    computed = keras.Model(begin, list(distinct.values()))(net, training=training)
    values = dict(zip(distinct, computed, strict=True))
    logits = values[id(model.output)]
    end_points = {
        **{name: values[id(each)] for name, each in symbolic.items()},
        "global_pool": tf.reduce_mean(values[id(_features(model))], [1, 2], keepdims=True),
        "logits": logits,
        "predictions": tf.nn.softmax(logits),
    }
    return logits, end_points


def _blocks(model: Any, pattern: re.Pattern[str]) -> dict[str, Any]:
    """Return the output of each block: that of its last layer, or of the sum of that and a way around it."""
    found: dict[str, Any] = {}
    block = ""
    for operation in model.operations:
        named = pattern.match(operation.name)
        if named:
            block = named[1]
        if block and (named or _MERGE.fullmatch(operation.name)):
            found[block] = operation.output
    return found


def _features(model: Any) -> Any:
    """Return what comes before the head: the input of the last pooling over the whole image; VGG flattens instead."""
    pools = [each for each in model.layers if isinstance(each, keras.layers.GlobalAveragePooling2D)]
    return (pools[-1] if pools else model.get_layer("flatten")).input
