"""LeNet and CifarNet, as TF-slim has them: two convolutions, and layers that see all pixels of what these leave.

The first of these has a weight for each pixel, so that the size of the images has to be known, and a checkpoint fits
images of one size.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import tensorflow as tf
from attrs import evolve

from mox_core.errors import UsageError
from mox_core.networks.checks import check_keep_prob
from mox_core.networks.image_network import ImageNetwork
from mox_core.networks.layers import conv, dropout, fully_connected, max_pool
from mox_core.networks.preprocessing import in_type_of, standardize_images

if TYPE_CHECKING:
    from mox_core.networks.context import Context

_GREY = 128.0


def scale_around_grey(images: tf.Tensor, run_mode: str) -> tf.Tensor:
    """Scale 0..255 to -1..1 with 128 as 0, for LeNet."""
    del run_mode
    return in_type_of(images, (tf.cast(images, tf.float32) - _GREY) / _GREY)


def _normal(stddev: float) -> Any:
    return tf.compat.v1.truncated_normal_initializer(stddev=stddev)


def _lenet(net: tf.Tensor, context: Context, *, dropout_keep_prob: float) -> tf.Tensor:
    points = context.end_points
    net = points["conv1"] = conv(net, context, filters=32, size=5, normalize=False, scope="conv1")
    net = points["pool1"] = _pool(net, context)
    net = points["conv2"] = conv(net, context, filters=64, size=5, normalize=False, scope="conv2")
    net = points["pool2"] = _pool(net, context)
    net = points["Flatten"] = _flattened(net)
    net = points["fc3"] = fully_connected(net, context, units=1024, scope="fc3")
    net = points["dropout3"] = dropout(net, context, keep_prob=dropout_keep_prob)
    logits = fully_connected(net, context, units=context.num_classes, activation=None, scope="fc4")
    return _with_predictions(logits, context)


def _cifarnet(net: tf.Tensor, context: Context, *, dropout_keep_prob: float) -> tf.Tensor:
    points = context.end_points
    # Slim has weight decay for the fully connected layers alone, but the last.
    free = evolve(context, weight_decay=0.0)
    dense = evolve(context, initializer=_normal(0.04), initial_bias=0.1)
    net = points["conv1"] = conv(net, free, filters=64, size=5, normalize=False, scope="conv1")
    net = points["pool1"] = _pool(net, context)
    net = _respond(net)
    net = points["conv2"] = conv(net, free, filters=64, size=5, normalize=False, scope="conv2")
    net = points["pool2"] = _pool(_respond(net), context)
    net = points["Flatten"] = _flattened(net)
    net = points["fc3"] = fully_connected(net, dense, units=384, scope="fc3")
    net = dropout(net, context, keep_prob=dropout_keep_prob)
    net = points["fc4"] = fully_connected(net, dense, units=192, scope="fc4")
    logits = fully_connected(
        net, free, units=context.num_classes, activation=None, initializer=_normal(1 / 192), scope="logits"
    )
    return _with_predictions(logits, context)


def _pool(net: tf.Tensor, context: Context) -> tf.Tensor:
    return max_pool(net, context, size=2, stride=2, padding="VALID")


def _respond(net: tf.Tensor) -> tf.Tensor:
    """Local response normalization over nine channels (Krizhevsky et al. 2012, section 3.3).

    It is computed in float32, for which alone all devices have it.
    """
    wide = tf.nn.lrn(tf.cast(net, tf.float32), depth_radius=4, bias=1.0, alpha=0.001 / 9.0, beta=0.75)
    normalized: tf.Tensor = tf.cast(wide, net.dtype)
    return normalized


def _flattened(net: tf.Tensor) -> tf.Tensor:
    """Return all values of each image in a row.

    Raises:
        UsageError: if it is not known how many there are.
    """
    sides = net.shape[1:].as_list()
    if None in sides:
        name = tf.compat.v1.get_variable_scope().name
        raise UsageError(
            f"the size of the images is not known, and {name} has weights for each pixel: give image_height= and "
            "image_width= to mox.get_model_fn, or images of a static shape (tf.ensure_shape)"
        )
    flat: tf.Tensor = tf.reshape(net, [-1, math.prod(cast("list[int]", sides))])
    return flat


def _with_predictions(logits: tf.Tensor, context: Context) -> tf.Tensor:
    context.end_points["Logits"] = logits
    context.end_points["Predictions"] = tf.nn.softmax(logits, name="Predictions")
    return logits


_network = partial(
    ImageNetwork,
    options={"dropout_keep_prob": 0.5},
    checks={"dropout_keep_prob": check_keep_prob},
    layer_end_points=False,
    does_nchw=False,  # the weights of the first fully connected layer would stand in another order
)

lenet = _network(
    name="lenet",
    scope="LeNet",
    build=_lenet,
    preprocess=scale_around_grey,
    initializer=_normal(0.1),
)

cifarnet = _network(
    name="cifarnet",
    scope="CifarNet",
    build=_cifarnet,
    preprocess=standardize_images,
    initializer=_normal(0.05),
)
