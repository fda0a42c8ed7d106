"""The network `shapes_mlp`, written as TensorFlow 1 has it: variables by name, in a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

HIDDEN = 32
_IGNORED = {"data_format": "NHWC", "batch_norm_fused": False, "batch_renorm": False}
"""Options of `mox.get_model_fn` that have no meaning here, and the values that say so."""


def shapes_mlp(
    *,
    run_mode: str,
    num_classes: int,
    weight_decay: float = 0.0,
    image_height: int | None = None,
    image_width: int | None = None,
    preprocess_fn: Callable[[tf.Tensor, str], tf.Tensor] | None = lambda images, _: images / 255.0,
    **options: Any,
) -> Callable[[tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]]:
    """Return a function from grey images `[batch, height, width, 1]` in 0..255 to `(logits, end_points)`."""
    for name, value in options.items():
        if _IGNORED.get(name, not value) != value:
            raise UsageError(f"network 'shapes_mlp' has no {name}={value!r}: leave it out.")
    regularizer = (lambda weights: weight_decay * tf.nn.l2_loss(weights)) if weight_decay else None

    def network(images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        images = tf.ensure_shape(tf.cast(images, tf.float32), [None, image_height, image_width, 1])
        net = images if preprocess_fn is None else preprocess_fn(images, run_mode)
        with tf.compat.v1.variable_scope("shapes_mlp", regularizer=regularizer):
            net = tf.reshape(net, [-1, net.shape[1] * net.shape[2]])
            hidden = tf.nn.relu(_dense(net, HIDDEN, "hidden"))
            logits = _dense(hidden, num_classes, "logits")
        return logits, {"hidden": hidden, "predictions": tf.nn.softmax(logits)}

    return network


def _dense(net: tf.Tensor, units: int, name: str) -> tf.Tensor:
    with tf.compat.v1.variable_scope(name):
        weights = tf.compat.v1.get_variable("weights", [net.shape[-1], units])
        zeros = tf.compat.v1.zeros_initializer()
        bias = tf.compat.v1.get_variable("bias", [units], initializer=zeros, regularizer=None)
        return net @ weights + bias
