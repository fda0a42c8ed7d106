"""Layers of networks: convolution, batch normalization, pooling.

Variables are made by `tf.compat.v1.get_variable` under the names of TF-slim (`weights`, `biases`, `BatchNorm/gamma`,
...), so that slim's checkpoints restore by name. Kernels are height x width x in x out in both data formats: one
checkpoint fits both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import tensorflow as tf
from attrs import Factory, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

_KEYS = tf.compat.v1.GraphKeys
_COLLECTIONS = [_KEYS.GLOBAL_VARIABLES, _KEYS.MODEL_VARIABLES]


def conv(
    net: tf.Tensor,
    context: Context,
    *,
    filters: int,
    size: int,
    scope: str,
    stride: int = 1,
    normalize: bool = True,
    activate: bool = True,
) -> tf.Tensor:
    """Convolution, then batch normalization or biases, then ReLU; the result is an end point under its scope.

    The padding is that of stride 1 for any stride: the result is that of stride 1, subsampled. ('SAME' would shift it
    for even sizes.)
    """
    with tf.compat.v1.variable_scope(scope) as variables:
        shape = [size, size, context.channels(net), filters]
        weights = _variable(
            "weights",
            shape,
            dtype=net.dtype,
            initializer=tf.compat.v1.variance_scaling_initializer(scale=2.0, mode="fan_in"),
            regularizer=_l2(context.weight_decay),
        )
        strides = context.spatial(stride, others=1)
        before, after = (size - 1) // 2, size // 2
        padding: Any = "SAME" if stride == 1 else context.spatial([before, after], others=[0, 0])
        net = tf.nn.conv2d(net, weights, strides, padding, data_format=context.data_format)
        if normalize:
            net = batch_norm(net, context, scope="BatchNorm")
        else:
            biases = _variable("biases", [filters], dtype=net.dtype, initializer=tf.compat.v1.zeros_initializer())
            net = tf.nn.bias_add(net, biases, data_format=context.data_format)
        if activate:
            net = tf.nn.relu(net)
    context.end_points[variables.name] = net
    return net


def batch_norm(net: tf.Tensor, context: Context, *, scope: str) -> tf.Tensor:
    """Batch normalization, with parameters and statistics in float32 whatever the type of the input.

    In training the operations that update the moving averages are in the collection UPDATE_OPS.
    """
    channels = [context.channels(net)]
    zeros, ones = tf.compat.v1.zeros_initializer(), tf.compat.v1.ones_initializer()
    with tf.compat.v1.variable_scope(scope):
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
    if stride == 1:
        return net
    strides = context.spatial(stride, others=1)
    return cast("tf.Tensor", tf.nn.max_pool2d(net, 1, strides, "VALID", data_format=context.data_format))


def max_pool(net: tf.Tensor, context: Context) -> tf.Tensor:
    """The 3x3 max pooling with stride 2 after the first convolution."""
    window, strides = context.spatial(3, others=1), context.spatial(2, others=1)
    return cast("tf.Tensor", tf.nn.max_pool2d(net, window, strides, "SAME", data_format=context.data_format))


def pad_channels(net: tf.Tensor, context: Context, depth: int) -> tf.Tensor:
    """Return the input with channels of zeros appended, `depth` channels in all."""
    paddings = [[0, 0] for _ in range(4)]
    paddings[context.channel_axis] = [0, depth - context.channels(net)]
    return tf.pad(net, paddings)


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


@frozen
class Context:
    """What all layers of one network share.

    Attributes:
        training: whether to normalize by the batch and update the moving averages, instead of normalizing by these.
        num_classes: the number of logits of an image.
        weight_decay: factor of the L2 loss of the kernels; 0 adds none.
        data_format: 'NHWC' or 'NCHW', the layout of the computation. (Any, because the stubs of TensorFlow's functions
            want types that exclude each other.)
        batch_norm_decay: the decay of the moving averages.
        batch_norm_epsilon: what is added to the variance.
        end_points: outputs of layers, units and blocks by the name of their scope.
    """

    training: bool
    num_classes: int
    weight_decay: float
    batch_norm_decay: float
    batch_norm_epsilon: float
    data_format: Any
    end_points: dict[str, tf.Tensor] = Factory(dict)

    @property
    def channel_axis(self) -> int:
        """The axis of the channels."""
        return cast("int", self.data_format.index("C"))

    def channels(self, net: tf.Tensor) -> int:
        """The number of channels, which is always known."""
        return cast("int", net.shape[self.channel_axis])

    @property
    def spatial_axes(self) -> list[int]:
        """The axes of height and width."""
        return [self.data_format.index("H"), self.data_format.index("W")]

    def spatial(self, value: Any, *, others: Any) -> list[Any]:
        """Return one entry for each axis: `value` for height and width, `others` for batch and channels."""
        return [value if axis in "HW" else others for axis in self.data_format]
