"""What Inception networks are made of: layers as data, modules of parallel branches, and the heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import tensorflow as tf
from attrs import Factory, frozen

from mox_core.networks.checks import check_count, check_flag, check_keep_prob, check_multiplier
from mox_core.networks.image_network import ImageNetwork
from mox_core.networks.layers import avg_pool, conv, dropout, global_pool, max_pool
from mox_core.networks.preprocessing import scale_to_unit_range

if TYPE_CHECKING:
    from mox_core.networks.context import Context
    from mox_core.networks.layers import Size

Width = Callable[[int], int]
"""From a number of filters to that of a thinner or wider network."""

_AUX_SIZE = 5


@frozen
class Conv:
    """A convolution.

    Attributes:
        place: how slim counts it within its branch, such as `0a`.
        filters: the number of filters.
        size: of the kernel.
        stride: in both directions.
        padding: of its input.
        stddev: standard deviation of the initial kernel; None: the network's own initial values.
        scope: of its variables; made of place and size if none is given.
    """

    place: str
    filters: int
    size: Size = 1
    stride: int = 1
    padding: Literal["SAME", "VALID"] = "SAME"
    stddev: float | None = None
    scope: str = Factory(lambda layer: "_".join(filter(None, ("Conv2d", layer.place, layer.shape))), takes_self=True)

    @property
    def shape(self) -> str:
        """Height and width of the kernel, as names have them."""
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return f"{height}x{width}"


@frozen
class Pool:
    """A pooling."""

    kind: Literal["max", "avg"]
    size: int = 3
    stride: int = 1
    padding: Literal["SAME", "VALID"] = "SAME"


@frozen
class Fork:
    """Convolutions of one input whose outputs become one, at the end of a branch."""

    layers: tuple[Conv, ...]


Layer = Conv | Pool | Fork
Branch = tuple[Layer, ...]
Module = tuple[Branch, ...]
"""Branches of one input whose outputs become one."""
Stage = Conv | Pool | Module


def build_layer(net: tf.Tensor, context: Context, layer: Layer, width: Width) -> tf.Tensor:
    """Add a layer."""
    if isinstance(layer, Fork):
        outputs = [build_layer(net, context, part, width) for part in layer.layers]
        return tf.concat(outputs, context.channel_axis)
    if isinstance(layer, Pool):
        pool = max_pool if layer.kind == "max" else avg_pool
        return pool(net, context, size=layer.size, stride=layer.stride, padding=layer.padding)
    return conv(
        net,
        context,
        filters=width(layer.filters),
        size=layer.size,
        stride=layer.stride,
        padding=layer.padding,
        initializer=None if layer.stddev is None else normal(layer.stddev),
        scope=layer.scope,
    )


def build_branches(net: tf.Tensor, context: Context, module: Module, width: Width) -> tf.Tensor:
    """Add the branches of a module, and put their outputs behind each other."""
    outputs = []
    for number, branch in enumerate(module):
        with tf.compat.v1.variable_scope(f"Branch_{number}"):
            output = net
            for layer in branch:
                output = build_layer(output, context, layer, width)
        outputs.append(output)
    return tf.concat(outputs, context.channel_axis)


def build_stages(net: tf.Tensor, context: Context, stages: Mapping[str, Stage], width: Width = int) -> tf.Tensor:
    """Add one stage after the other; the output of each is an end point by its name."""
    for name, stage in stages.items():
        if isinstance(stage, tuple):
            with tf.compat.v1.variable_scope(name):
                net = build_branches(net, context, stage, width)
        else:
            net = build_layer(net, context, stage, width)
        context.end_points[name] = net
    return net


def auxiliary(
    net: tf.Tensor, context: Context, *, scope: str, width: Width = int, initializer: Any = None
) -> tf.Tensor:
    """Add the auxiliary head up to its logits; the result is a map, of 1 x 1 where images have their default size.

    The scope of the layer that sees all of the image may have `{size}` in it.
    """
    net = avg_pool(net, context, size=_AUX_SIZE, stride=3, padding="VALID")
    net = conv(net, context, filters=width(128), size=1, scope="Conv2d_1b_1x1")
    sides = [net.shape[axis] or _AUX_SIZE for axis in context.spatial_axes]
    height, wide = min(sides[0], _AUX_SIZE), min(sides[1], _AUX_SIZE)
    return conv(
        net,
        context,
        filters=width(768),
        size=(height, wide),
        padding="VALID",
        initializer=initializer,
        scope=scope.format(size=f"{height}x{wide}"),
    )


def pooled(net: tf.Tensor, context: Context) -> tf.Tensor:
    """Return the mean over the image, an end point; slim's pooling of fixed size is that at default_image_size."""
    net = global_pool(net, context)
    context.end_points["global_pool"] = net
    return net


def convolved_logits(net: tf.Tensor, context: Context, *, scope: str, initializer: Any = None) -> tf.Tensor:
    """Return logits by a 1x1 convolution, the mean of them where a map is left."""
    net = conv(
        net,
        context,
        filters=context.num_classes,
        size=1,
        normalize=False,
        activation=None,
        initializer=initializer,
        scope=scope,
    )
    logits: tf.Tensor = tf.reduce_mean(net, context.spatial_axes)
    return logits


def kept(net: tf.Tensor, context: Context, keep_prob: float) -> tf.Tensor:
    """Return what dropout keeps, an end point."""
    net = dropout(net, context, keep_prob=keep_prob)
    context.end_points["PreLogits"] = net
    return net


def with_predictions(logits: tf.Tensor, context: Context) -> tf.Tensor:
    """Make logits and probabilities end points, and return the logits."""
    context.end_points["Logits"] = logits
    context.end_points["Predictions"] = tf.nn.softmax(logits, name="Predictions")
    return logits


def normal(stddev: float) -> Any:
    """Return initial values of a normal distribution, of which none is further than two standard deviations from 0."""
    return tf.compat.v1.truncated_normal_initializer(stddev=stddev)


def scaled(depth_multiplier: float, min_depth: int) -> Width:
    """Return the width of a network with that part of the filters, and so many at least."""
    return lambda filters: max(int(filters * depth_multiplier), min_depth)


def network(name: str, scope: str, build: Callable[..., tf.Tensor], **settings: Any) -> ImageNetwork:
    """Return an Inception network, with the checks of all options that these have."""
    return ImageNetwork(
        name=name,
        scope=scope,
        build=build,
        preprocess=scale_to_unit_range,
        checks={
            "create_aux_logits": check_flag,
            "depth_multiplier": check_multiplier,
            "dropout_keep_prob": check_keep_prob,
            "global_pool": check_flag,
            "min_depth": check_count,
        },
        batch_norm_decay=0.9997,
        batch_norm_epsilon=0.001,
        batch_norm_scale=False,
        layer_end_points=False,
        **settings,
    )
