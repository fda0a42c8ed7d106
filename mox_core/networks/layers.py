"""Layers of networks: convolution, full connection, batch normalization, pooling, dropout.

Variables are made by `tf.compat.v1.get_variable` under the names of TF-slim (`weights`, `biases`, `BatchNorm/gamma`,
...), so that slim's checkpoints restore by name. Kernels are height x width x in x out in both data formats: one
checkpoint fits both.

The padding of a layer is 'SAME' or 'VALID' as in TensorFlow, or 'CENTRED': that of stride 1 for any stride, so that the
result is that of stride 1, subsampled. ('SAME' would shift it for even sizes.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, cast

import tensorflow as tf

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from mox_core.networks.context import Context

Activation = Callable[[tf.Tensor], tf.Tensor]
Padding = Literal["SAME", "VALID", "CENTRED"]
Size = int | tuple[int, int]

_KEYS = tf.compat.v1.GraphKeys
_COLLECTIONS = [_KEYS.GLOBAL_VARIABLES, _KEYS.MODEL_VARIABLES]


def conv(  # noqa: PLR0913  (what a layer is made of, by keyword)
    net: tf.Tensor,
    context: Context,
    *,
    filters: int,
    size: Size,
    scope: str,
    stride: int = 1,
    padding: Padding = "CENTRED",
    normalize: bool = True,
    biases: bool = True,
    activation: Activation | None = tf.nn.relu,
    initializer: Any = None,
    groups: int = 1,
    one_by_one: bool = False,
) -> tf.Tensor:
    """Convolution, then batch normalization or biases, then the activation.

    Args:
        net: the input.
        context: what it shares with the other layers.
        filters: the number of output channels.
        size: height and width of the kernel, one number where they are equal.
        scope: the scope of its variables.
        stride: in both directions.
        padding: of the input.
        normalize: whether batch normalization follows; biases otherwise.
        biases: False for neither.
        activation: None for none.
        initializer: of the kernel; None: that of the context.
        groups: of channels, each of which has its own part of the filters.
        one_by_one: whether the groups are computed by a convolution each. They always are in training on a CPU, for
            which TensorFlow has no gradient of the operation that computes them at once.
    """
    with tf.compat.v1.variable_scope(scope) as variables:
        height, width = _pair(size)
        shape = [height, width, context.channels(net) // groups, filters]
        weights = _kernel("weights", shape, net, context, initializer)
        options = {
            "strides": context.spatial(stride, stride, others=1),
            "padding": _padding(net, context, size, stride, padding),
            "data_format": context.data_format,
        }
        if groups > 1 and (one_by_one or (context.training and on_cpu(net))):
            parts = zip(tf.split(net, groups, context.channel_axis), tf.split(weights, groups, -1), strict=True)
            net = tf.concat([tf.nn.conv2d(*part, **options) for part in parts], context.channel_axis)
        else:
            net = tf.nn.conv2d(net, weights, **options)
        net = _finished(net, context, normalize=normalize, biases=biases, activation=activation)
    context.add_layer(variables.name, net)
    return net


def depthwise_conv(  # noqa: PLR0913  (what a layer is made of, by keyword)
    net: tf.Tensor,
    context: Context,
    *,
    size: Size,
    scope: str,
    stride: int = 1,
    padding: Padding = "CENTRED",
    normalize: bool = True,
    activation: Activation | None = tf.nn.relu,
    initializer: Any = None,
    regularize: bool = True,
) -> tf.Tensor:
    """A convolution of each channel by itself, then what follows a `conv`; the kernel is `depthwise_weights`.

    Without `regularize` the kernel is in no regularization loss, as in MobileNets.
    """
    with tf.compat.v1.variable_scope(scope) as variables:
        net = _depthwise(net, context, size, stride, padding, initializer, regularize=regularize)
        net = _finished(net, context, normalize=normalize, activation=activation)
    context.add_layer(variables.name, net)
    return net


def separable_conv(  # noqa: PLR0913  (what a layer is made of, by keyword)
    net: tf.Tensor,
    context: Context,
    *,
    filters: int,
    size: Size,
    scope: str,
    stride: int = 1,
    padding: Padding = "CENTRED",
    multiplier: int = 1,
    normalize: bool = True,
    biases: bool = True,
    activation: Activation | None = tf.nn.relu,
    initializer: Any = None,
    regularize_depthwise: bool = True,
) -> tf.Tensor:
    """A depthwise convolution and a 1x1 one in one layer, with nothing between them, then what follows a `conv`.

    The kernels are `depthwise_weights` and `pointwise_weights` of one scope. The first has `multiplier` filters for
    each channel.
    """
    with tf.compat.v1.variable_scope(scope) as variables:
        net = _depthwise(
            net, context, size, stride, padding, initializer, multiplier=multiplier, regularize=regularize_depthwise
        )
        shape = [1, 1, context.channels(net), filters]
        weights = _kernel("pointwise_weights", shape, net, context, initializer)
        net = tf.nn.conv2d(net, weights, 1, "VALID", data_format=context.data_format)
        net = _finished(net, context, normalize=normalize, biases=biases, activation=activation)
    context.add_layer(variables.name, net)
    return net


def fully_connected(
    net: tf.Tensor,
    context: Context,
    *,
    units: int,
    scope: str,
    activation: Activation | None = tf.nn.relu,
    initializer: Any = None,
) -> tf.Tensor:
    """A matrix product with each row of [batch, features], then biases and the activation."""
    with tf.compat.v1.variable_scope(scope) as variables:
        weights = _kernel("weights", [cast("int", net.shape[1]), units], net, context, initializer)
        biases = _biases(units, net, context)
        net = tf.nn.bias_add(tf.linalg.matmul(net, weights), biases)
        net = net if activation is None else activation(net)
    context.add_layer(variables.name, net)
    return net


def batch_norm(net: tf.Tensor, context: Context, *, scope: str) -> tf.Tensor:
    """Batch normalization, with parameters and statistics in float32 whatever the type of the input.

    In training the operations that update the moving averages are in the collection UPDATE_OPS.
    """
    channels = [context.channels(net)]
    zeros, ones = tf.compat.v1.zeros_initializer(), tf.compat.v1.ones_initializer()
    with tf.compat.v1.variable_scope(scope):
        gamma: Any = tf.ones(channels)
        if context.batch_norm_scale:
            gamma = _variable("gamma", channels, dtype=tf.float32, initializer=ones)
        beta = _variable("beta", channels, dtype=tf.float32, initializer=zeros)
        mean = _statistic("moving_mean", channels, zeros)
        variance = _statistic("moving_variance", channels, ones)
        # The kernel returns the updated averages, so that the update takes no arithmetic operations.
        net, new_mean, new_variance = tf.compat.v1.nn.fused_batch_norm(
            net,
            gamma,
            beta,
            mean=mean,
            variance=variance,
            epsilon=context.batch_norm_epsilon,
            data_format=context.data_format,
            is_training=context.training,
            exponential_avg_factor=1.0 - context.batch_norm_decay if context.training else 1.0,
        )
        if context.training:
            for variable, value in ((mean, new_mean), (variance, new_variance)):
                tf.compat.v1.add_to_collection(_KEYS.UPDATE_OPS, variable.assign(value, read_value=False))
    return net


def subsample(net: tf.Tensor, context: Context, stride: int) -> tf.Tensor:
    """Return every `stride`-th pixel of every `stride`-th row, by a pooling: a strided slice has a slow gradient."""
    return net if stride == 1 else max_pool(net, context, size=1, stride=stride, padding="VALID")


def max_pool(
    net: tf.Tensor, context: Context, *, size: Size = 3, stride: int = 2, padding: Literal["SAME", "VALID"] = "SAME"
) -> tf.Tensor:
    """Max pooling; as it is by default, it stands behind the first convolution of a residual network."""
    return _pooled(tf.nn.max_pool2d, net, context, size, stride, padding)


def avg_pool(
    net: tf.Tensor, context: Context, *, size: Size, stride: int, padding: Literal["SAME", "VALID"]
) -> tf.Tensor:
    """Average pooling, of the pixels inside of the image only."""
    return _pooled(tf.nn.avg_pool2d, net, context, size, stride, padding)


def global_pool(net: tf.Tensor, context: Context) -> tf.Tensor:
    """The mean over height and width, which stay as axes of length 1."""
    pooled: tf.Tensor = tf.reduce_mean(net, context.spatial_axes, keepdims=True)
    return pooled


def dropout(net: tf.Tensor, context: Context, *, keep_prob: float) -> tf.Tensor:
    """In training, zero instead of a value with probability 1 - keep_prob, and the others divided by keep_prob."""
    if not context.training or keep_prob == 1:
        return net
    dropped: tf.Tensor = tf.nn.dropout(net, rate=1.0 - keep_prob)
    return dropped


def pad_channels(net: tf.Tensor, context: Context, depth: int) -> tf.Tensor:
    """Return the input with channels of zeros appended, `depth` channels in all."""
    paddings = [[0, 0] for _ in range(4)]
    paddings[context.channel_axis] = [0, depth - context.channels(net)]
    return tf.pad(net, paddings)


def on_cpu(net: tf.Tensor) -> bool:
    """Return whether an operation made here on the tensor runs on a CPU: it has the device of the enclosing scope."""
    return not tf.config.list_logical_devices("GPU") or "CPU" in tf.identity(net).device.upper()


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _depthwise(
    net: tf.Tensor,
    context: Context,
    size: Size,
    stride: int,
    padding: Padding,
    initializer: Any,
    *,
    regularize: bool,
    multiplier: int = 1,
) -> tf.Tensor:
    shape = [*_pair(size), context.channels(net), multiplier]
    weights = _kernel("depthwise_weights", shape, net, context, initializer, regularize=regularize)
    strides = context.spatial(stride, stride, others=1)
    padded = _padding(net, context, size, stride, padding)
    result: tf.Tensor = tf.nn.depthwise_conv2d(net, weights, strides, padded, data_format=context.data_format)
    return result


def _padding(net: tf.Tensor, context: Context, size: Size, stride: int, padding: Padding) -> Any:
    """Return a padding as TensorFlow's convolutions take it."""
    if padding == "CENTRED":
        if stride == 1:
            return "SAME"
        before_and_after = ([(length - 1) // 2, length // 2] for length in _pair(size))
        return context.spatial(*before_and_after, others=[0, 0])
    _check_fits(net, context, size, padding)
    return padding


def _pooled(pool: Any, net: tf.Tensor, context: Context, size: Size, stride: int, padding: Padding) -> tf.Tensor:
    _check_fits(net, context, size, padding)
    window, strides = context.spatial(*_pair(size), others=1), context.spatial(stride, stride, others=1)
    return cast("tf.Tensor", pool(net, window, strides, padding, data_format=context.data_format))


def _check_fits(net: tf.Tensor, context: Context, size: Size, padding: Padding) -> None:
    """Check that what a layer without padding looks at is not larger than its input, as far as that is known.

    Raises:
        UsageError: if it is.
    """
    (height, width), need = (net.shape[axis] for axis in context.spatial_axes), _pair(size)
    if padding == "VALID" and (need[0] > (height or need[0]) or need[1] > (width or need[1])):
        scope = tf.compat.v1.get_variable_scope().name
        raise UsageError(
            f"the images are too small: {scope} looks at {need[0]} x {need[1]} values, of which "
            f"{height} x {width} are left there; give images of the network's default_image_size "
            "(mox.get_model_meta), or resize them"
        )


def _finished(
    net: tf.Tensor, context: Context, *, normalize: bool, activation: Activation | None, biases: bool = True
) -> tf.Tensor:
    """Return what follows a product with a kernel: batch normalization, biases or neither, then the activation."""
    if normalize:
        net = batch_norm(net, context, scope="BatchNorm")
    elif biases:
        values = _biases(context.channels(net), net, context)
        net = tf.nn.bias_add(net, values, data_format=context.data_format)
    return net if activation is None else activation(net)


def _kernel(
    name: str,
    shape: list[int],
    net: tf.Tensor,
    context: Context,
    initializer: Any,
    *,
    regularize: bool = True,
) -> Any:
    return _variable(
        name,
        shape,
        dtype=net.dtype,
        initializer=context.initializer if initializer is None else initializer,
        regularizer=_l2(context.weight_decay) if regularize else None,
    )


def _biases(length: int, net: tf.Tensor, context: Context) -> Any:
    initializer = tf.compat.v1.constant_initializer(context.initial_bias)
    regularizer = _l2(context.weight_decay) if context.decays_biases else None
    return _variable("biases", [length], dtype=net.dtype, initializer=initializer, regularizer=regularizer)


def _variable(name: str, shape: list[int], **options: Any) -> Any:
    return tf.compat.v1.get_variable(name, shape, collections=_COLLECTIONS, **options)


def _statistic(name: str, shape: list[int], initializer: Any) -> Any:
    # Each replica updates its own value; the mean over replicas is read and saved.
    return _variable(
        name,
        shape,
        dtype=tf.float32,
        initializer=initializer,
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.MEAN,
    )


def _l2(weight_decay: float) -> Callable[[Any], tf.Tensor] | None:
    """Return the regularizer for `get_variable`: its loss is computed in float32, and has the type of the weights."""
    if not weight_decay:
        return None
    return lambda weights: tf.cast(tf.nn.l2_loss(tf.cast(weights, tf.float32)) * weight_decay, weights.dtype)
