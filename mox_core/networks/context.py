"""What the layers of one network share."""

from __future__ import annotations

from typing import Any, Final, cast

import tensorflow as tf
from attrs import Factory, frozen

from mox_core.modes import ModeKeys

HE: Final = tf.compat.v1.variance_scaling_initializer(scale=2.0, mode="fan_in")
"""Initial values of kernels after He et al. 2015 (arXiv:1502.01852), which keep the variance behind a ReLU."""

GLOROT: Final = tf.compat.v1.glorot_uniform_initializer()
"""Initial values of kernels after Glorot and Bengio 2010, slim's where a network asks for none."""


@frozen(kw_only=True)
class Context:
    """What all layers of one network share.

    Attributes:
        run_mode: the mode.
        num_classes: the number of logits of an image.
        weight_decay: factor of the L2 loss of the kernels; 0 adds none.
        data_format: 'NHWC' or 'NCHW', the layout of the computation. (Any, because the stubs of TensorFlow's functions
            want types that exclude each other.)
        batch_norm_decay: the decay of the moving averages.
        batch_norm_epsilon: what is added to the variance.
        batch_norm_scale: whether batch normalization has a scale, gamma.
        initializer: of kernels.
        initial_bias: the initial value of biases.
        decays_biases: whether biases have an L2 loss, too.
        layer_end_points: whether each layer with variables is an end point by the name of its scope.
        end_points: outputs of layers, units and blocks by name.
    """

    run_mode: str
    num_classes: int
    weight_decay: float
    batch_norm_decay: float
    batch_norm_epsilon: float
    data_format: Any
    batch_norm_scale: bool = True
    initializer: Any = HE
    initial_bias: float = 0.0
    decays_biases: bool = False
    layer_end_points: bool = True
    end_points: dict[str, tf.Tensor] = Factory(dict)

    @property
    def training(self) -> bool:
        """Whether to normalize by the batch and update the moving averages, instead of normalizing by these."""
        return self.run_mode == ModeKeys.TRAIN

    @property
    def does_loss(self) -> bool:
        """Whether what is built for the loss alone is wanted, such as the auxiliary logits: in TRAIN and EVAL."""
        return self.run_mode in (ModeKeys.TRAIN, ModeKeys.EVAL)

    def add_layer(self, scope: str, net: tf.Tensor) -> None:
        """Make the output of a layer an end point, where layers are."""
        if self.layer_end_points:
            self.end_points[scope] = net

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

    def spatial(self, height: Any, width: Any, *, others: Any) -> list[Any]:
        """Return one entry for each axis: those of height and width, and `others` for batch and channels."""
        entries = {"H": height, "W": width}
        return [entries.get(axis, others) for axis in self.data_format]
