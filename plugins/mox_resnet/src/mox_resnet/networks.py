"""The residual networks for `mox.get_model_fn`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import tensorflow as tf

from mox_core.networks.image_network import ImageNetwork
from mox_core.networks.layers import batch_norm, conv
from mox_core.networks.preprocessing import standardize_images, subtract_vgg_means
from mox_resnet import architectures as known

if TYPE_CHECKING:
    from mox_core.networks.context import Context
    from mox_core.networks.image_network import PreprocessFn
    from mox_resnet.architectures import Architecture


def resnet(architecture: Architecture, preprocess: PreprocessFn = subtract_vgg_means) -> ImageNetwork:
    """Return a residual network.

    Its end points are the outputs of layers, units and blocks by the name of their variable scope, and 'global_pool',
    '<network>/logits', '<network>/spatial_squeeze' and 'predictions' (probabilities).
    """
    return ImageNetwork(
        name=architecture.name,
        build=partial(_layers, architecture),
        preprocess=preprocess,
        batch_norm_decay=architecture.batch_norm_decay,
    )


def _layers(architecture: Architecture, net: tf.Tensor, context: Context) -> tf.Tensor:
    scope = tf.compat.v1.get_variable_scope().name
    net = architecture.root(net, context)
    for number, block in enumerate(architecture.blocks, start=1):
        with tf.compat.v1.variable_scope(f"block{number}") as block_scope:
            for unit_number, stride in enumerate(block.strides, start=1):
                with tf.compat.v1.variable_scope(f"unit_{unit_number}"):
                    net = architecture.unit(net, context, block.depth, stride)
        context.end_points[block_scope.name] = net
    if architecture.postnorm:
        net = tf.nn.relu(batch_norm(net, context, scope="postnorm"))
    net = tf.reduce_mean(net, context.spatial_axes, keepdims=True, name="pool5")
    context.end_points["global_pool"] = net
    net = conv(net, context, filters=context.num_classes, size=1, normalize=False, activation=None, scope="logits")
    logits = tf.squeeze(net, context.spatial_axes, name="SpatialSqueeze")
    context.end_points[f"{scope}/spatial_squeeze"] = logits
    context.end_points["predictions"] = tf.nn.softmax(logits, name="predictions")
    return logits


resnet_v1_18 = resnet(known.RESNET_V1_18)
resnet_v1_20 = resnet(known.RESNET_V1_20, standardize_images)
resnet_v1_34 = resnet(known.RESNET_V1_34)
resnet_v1_50 = resnet(known.RESNET_V1_50)
resnet_v1_101 = resnet(known.RESNET_V1_101)
resnet_v1_110 = resnet(known.RESNET_V1_110, standardize_images)
resnet_v1_152 = resnet(known.RESNET_V1_152)
resnet_v1_200 = resnet(known.RESNET_V1_200)
resnet_v2_50 = resnet(known.RESNET_V2_50)
resnet_v2_101 = resnet(known.RESNET_V2_101)
resnet_v2_152 = resnet(known.RESNET_V2_152)
resnet_v2_200 = resnet(known.RESNET_V2_200)
