"""The networks for `mox.get_model_fn`: models of keras.applications, each an attribute of this module by its name.

Variables have the names that Keras gives them by itself (`conv1_conv/kernel`), whatever was made before, so that
Keras's own weights fit a checkpoint by name. They are made in the layout of Keras, height x width x in x out.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import keras
import tensorflow as tf

from mox_applications import preprocessing
from mox_applications.end_points import compute
from mox_applications.families import APPLICATIONS
from mox_applications.keras_settings import settings_for
from mox_applications.options import CHECKS, apply_rates, keras_options
from mox_core.errors import UsageError
from mox_core.networks.image_network import ImageNetwork
from mox_core.sdk import fresh_layer_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_applications.families import Application
    from mox_core.networks.context import Context

_PUBLISHED_DEVIATIONS: Final = (0.229, 0.224, 0.225)
"""What EfficientNet's published weights have in the place of the variances of colours."""


def __getattr__(name: str) -> ImageNetwork:
    if name not in APPLICATIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return application(name)


@cache
def application(name: str) -> ImageNetwork:
    """Return a network.

    Its end points are the outputs of all layers of the model by Keras's names, those of its blocks, and 'global_pool'
    (the means over the last of them, [batch, 1, 1, channels]), 'logits' and 'predictions' (probabilities).
    """
    network = APPLICATIONS[name]
    return ImageNetwork(
        name=name,
        build=partial(_layers, network),
        preprocess=getattr(preprocessing, network.family.preprocessing),
        scope="",
        options=dict(network.family.options),
        checks=CHECKS,
        does_nchw=False,
    )


def _layers(network: Application, net: tf.Tensor, context: Context, **options: Any) -> tf.Tensor:
    _check_size(network, net.shape)
    with tf.name_scope(network.name), fresh_layer_names(reserve=True), settings_for(net.dtype):
        model = _model(network, net.shape, context.num_classes, options)
        apply_rates(model, options, training=context.training)
        begin = model.input
        if network.function.startswith("EfficientNetB"):
            net, begin = _normalized(model, net), model.get_layer("stem_conv_pad").input
        logits, end_points = compute(model, begin, net, network.family.blocks, training=context.training)
    if context.weight_decay:
        for kernel in _kernels(model):
            loss = tf.nn.l2_loss(tf.convert_to_tensor(kernel)) * context.weight_decay
            # In the type of the logits, to whose loss it is added.
            tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES, tf.cast(loss, net.dtype))
    context.end_points.update(end_points)
    return logits


def _check_size(network: Application, shape: tf.TensorShape) -> None:
    _, height, width, _ = shape
    if height is None or width is None:
        raise UsageError(
            f"images for network {network.name!r} have shape {shape}, and Keras builds the network for one size: give "
            f"image_height and image_width, or resize the images to [{network.size}, {network.size}]"
        )
    if min(height, width) < network.family.smallest:
        raise UsageError(
            f"images for network {network.name!r} have shape {shape}, and must be of at least "
            f"{network.family.smallest} x {network.family.smallest} pixels"
        )


def _model(network: Application, shape: tf.TensorShape, num_classes: int, options: dict[str, Any]) -> Any:
    """Return the Keras model with random weights, without preprocessing where Keras can leave it out."""
    make = getattr(keras.applications, network.function)
    return make(
        weights=None,
        input_shape=tuple(shape[1:]),
        classes=num_classes,
        classifier_activation=None,
        **keras_options(make, options),
    )


def _normalized(model: Any, net: tf.Tensor) -> tf.Tensor:
    """Return images in 0..1 normalized by EfficientNet's first layer, which has weights.

    Its published weights hold deviations where the layer takes variances. Keras's own model has one more layer for
    that, but only where it loads them itself; here it goes by the values, so that they give the same predictions.
    """
    layer = next(each for each in model.layers if isinstance(each, keras.layers.Normalization))
    normalized = layer(net)
    variance, deviation = tf.convert_to_tensor(layer.adapt_variance), tf.constant(_PUBLISHED_DEVIATIONS)
    if variance.shape != deviation.shape:  # grey images
        return normalized
    is_published = tf.reduce_all(tf.abs(variance - deviation) < 1e-4)  # noqa: PLR2004  (rounding)
    factor = tf.where(is_published, tf.math.rsqrt(deviation), tf.ones_like(deviation))
    return normalized * tf.cast(factor, normalized.dtype)


def _kernels(model: Any) -> Iterator[Any]:
    """Yield the kernels of a model but those that see one channel each, which have few weights (arXiv 1704.04861)."""
    for layer in model.layers:
        if isinstance(layer, keras.Sequential):
            yield from _kernels(layer)
        elif isinstance(layer, keras.layers.SeparableConv2D):
            yield layer.pointwise_kernel
        elif isinstance(layer, keras.layers.Dense) or (isinstance(layer, keras.layers.Conv2D) and layer.groups == 1):
            yield layer.kernel
