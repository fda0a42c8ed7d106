"""AlexNet, OverFeat and VGG: convolutions, and three layers of which the first sees all that is left of the image.

AlexNet is version 2 (arXiv:1404.5997), OverFeat that of arXiv:1312.6229, and VGG the configurations A, D and E of
arXiv:1409.1556, each as TF-slim has it. The `_bn` networks have batch normalization in place of the biases of the 3x3
convolutions.

The last three layers are convolutions, as in slim. On images that are larger than default_image_size they give a map
of logits, of which the mean is taken: section 3.2 of VGG's paper.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import tensorflow as tf
from attrs import evolve, frozen

from mox_core.networks.checks import check_flag, check_keep_prob
from mox_core.networks.context import GLOROT
from mox_core.networks.image_network import ImageNetwork
from mox_core.networks.layers import conv, dropout, max_pool
from mox_core.networks.preprocessing import subtract_vgg_means

if TYPE_CHECKING:
    from mox_core.networks.context import Context


@frozen
class Conv:
    """A convolution with ReLU."""

    scope: str
    filters: int
    size: int = 3
    stride: int = 1
    padding: Literal["SAME", "VALID"] = "SAME"


@frozen
class Pool:
    """A max pooling with stride 2."""

    scope: str
    size: int = 2


@frozen(kw_only=True)
class Architecture:
    """A network.

    Attributes:
        name: of the network, and the scope of its variables.
        layers: what comes before the last three layers.
        filters: the numbers of filters of the first two of these.
        size: height and width of the kernel of the first, all of the image that is left.
        initial_bias: the initial value of biases.
        dense: the initial values of the last three layers: standard deviation of kernels, and biases but the last;
            None: as before them.
        normalize: whether batch normalization takes the place of biases in `layers`.
    """

    name: str
    layers: tuple[Conv | Pool, ...]
    filters: tuple[int, int] = (4096, 4096)
    size: int
    initial_bias: float = 0.0
    dense: tuple[float, float] | None = None
    normalize: bool = False


def network(architecture: Architecture) -> ImageNetwork:
    """Return the network of an architecture.

    Its end points are the outputs of layers by the name of their scope; that of `fc8` are the logits.
    """
    return ImageNetwork(
        name=architecture.name,
        build=partial(_layers, architecture),
        preprocess=subtract_vgg_means,
        options={"dropout_keep_prob": 0.5, "global_pool": False},
        checks={"dropout_keep_prob": check_keep_prob, "global_pool": check_flag},
        initializer=GLOROT,
        initial_bias=architecture.initial_bias,
    )


def _layers(
    architecture: Architecture, net: tf.Tensor, context: Context, *, dropout_keep_prob: float, global_pool: bool
) -> tf.Tensor:
    del global_pool  # the mean of logits of a map is the logits of its mean
    scope = tf.compat.v1.get_variable_scope().name
    for layer in architecture.layers:
        if isinstance(layer, Pool):
            net = max_pool(net, context, size=layer.size, stride=2, padding="VALID")
            context.end_points[f"{scope}/{layer.scope}"] = net
        else:
            net = conv(
                net,
                context,
                filters=layer.filters,
                size=layer.size,
                stride=layer.stride,
                padding=layer.padding,
                normalize=architecture.normalize,
                scope=layer.scope,
            )
    first, last = _contexts(architecture, context)
    conv_fc = partial(conv, padding="VALID", normalize=False)
    net = conv_fc(net, first, filters=architecture.filters[0], size=architecture.size, scope="fc6")
    net = dropout(net, context, keep_prob=dropout_keep_prob)
    net = conv_fc(net, first, filters=architecture.filters[1], size=1, scope="fc7")
    net = dropout(net, context, keep_prob=dropout_keep_prob)
    net = conv_fc(net, last, filters=context.num_classes, size=1, activation=None, scope="fc8")
    logits: tf.Tensor = tf.reduce_mean(net, context.spatial_axes)
    context.end_points[f"{scope}/fc8"] = logits
    return logits


def _contexts(architecture: Architecture, context: Context) -> tuple[Context, Context]:
    """Return the contexts of the last three layers: that of the first two, and that of the last."""
    if architecture.dense is None:
        return context, context
    stddev, bias = architecture.dense
    initializer: Any = tf.compat.v1.truncated_normal_initializer(stddev=stddev)
    first = evolve(context, initializer=initializer, initial_bias=bias)
    return first, evolve(first, initial_bias=0.0)


def _vgg(name: str, *convolutions: int, normalize: bool = False) -> Architecture:
    """Return a VGG with so many convolutions before each of its poolings."""
    layers: list[Conv | Pool] = []
    for block, (number, filters) in enumerate(zip(convolutions, (64, 128, 256, 512, 512), strict=True), start=1):
        layers += [Conv(f"conv{block}/conv{block}_{i + 1}", filters) for i in range(number)]
        layers.append(Pool(f"pool{block}"))
    return Architecture(name=name, layers=tuple(layers), size=7, normalize=normalize)


_ALEXNET_V2 = Architecture(
    name="alexnet_v2",
    layers=(
        Conv("conv1", 64, 11, stride=4, padding="VALID"),
        Pool("pool1", 3),
        Conv("conv2", 192, 5),
        Pool("pool2", 3),
        Conv("conv3", 384),
        Conv("conv4", 384),
        Conv("conv5", 256),
        Pool("pool5", 3),
    ),
    size=5,
    initial_bias=0.1,
    dense=(0.005, 0.1),
)

_OVERFEAT = Architecture(
    name="overfeat",
    layers=(
        Conv("conv1", 64, 11, stride=4, padding="VALID"),
        Pool("pool1"),
        Conv("conv2", 256, 5, padding="VALID"),
        Pool("pool2"),
        Conv("conv3", 512),
        Conv("conv4", 1024),
        Conv("conv5", 1024),
        Pool("pool5"),
    ),
    filters=(3072, 4096),
    size=6,
    dense=(0.005, 0.1),
)

alexnet_v2 = network(_ALEXNET_V2)
overfeat = network(_OVERFEAT)
vgg_a = network(_vgg("vgg_a", 1, 1, 2, 2, 2))
vgg_16 = network(_vgg("vgg_16", 2, 2, 3, 3, 3))
vgg_19 = network(_vgg("vgg_19", 2, 2, 4, 4, 4))
vgg_a_bn = network(_vgg("vgg_a_bn", 1, 1, 2, 2, 2, normalize=True))
vgg_16_bn = network(_vgg("vgg_16_bn", 2, 2, 3, 3, 3, normalize=True))
vgg_19_bn = network(_vgg("vgg_19_bn", 2, 2, 4, 4, 4, normalize=True))
