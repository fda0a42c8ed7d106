"""A network of images: it takes the options of `mox.get_model_fn` and returns `images -> (logits, end_points)`."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import tensorflow as tf
from attrs import Factory, frozen

from mox_core.errors import UsageError
from mox_core.modes import ModeKeys
from mox_core.networks.checks import check_count, check_run_mode, check_unknown
from mox_core.networks.context import HE, Context
from mox_core.networks.layers import on_cpu

NetworkFn = Callable[[tf.Tensor], tuple[tf.Tensor, dict[str, tf.Tensor]]]
PreprocessFn = Callable[[tf.Tensor, str], tf.Tensor]


@frozen(kw_only=True)
class ImageNetwork:
    """A network of images, the target of a `NetworkOffer`.

    Attributes:
        name: of the network, in errors.
        scope: of its variables; its name if none is given, and '' for none at all.
        build: `build(net, context, **options) -> logits`, called inside of the scope: `net` is a batch of preprocessed
            images in the type and layout of the computation.
        preprocess: `preprocess(images, run_mode)`, the network's own preprocessing; None for none.
        options: options of this network alone, by name, with their defaults.
        checks: checks of the options, by name: `check(name, value)` raises UsageError.
        batch_norm_decay: decay of the moving averages of batch normalization.
        batch_norm_epsilon: what is added to the variance in batch normalization.
        batch_norm_scale: whether batch normalization has a scale, gamma.
        initializer: the initializer of kernels.
        initial_bias: the initial value of biases.
        decays_biases: whether biases have an L2 loss, too.
        layer_end_points: whether each layer is an end point by the name of its scope.
        does_nchw: whether `build` can compute in NCHW.
    """

    name: str
    build: Callable[..., tf.Tensor]
    preprocess: PreprocessFn | None
    scope: str = Factory(lambda network: network.name, takes_self=True)
    options: dict[str, Any] = Factory(dict)
    checks: dict[str, Callable[[str, Any], object]] = Factory(dict)
    batch_norm_decay: float = 0.997
    batch_norm_epsilon: float = 1e-5
    batch_norm_scale: bool = True
    initializer: Any = HE
    initial_bias: float = 0.0
    decays_biases: bool = False
    layer_end_points: bool = True
    does_nchw: bool = True

    def __call__(
        self,
        *,
        run_mode: str,
        num_classes: int,
        weight_decay: float = 0.0,
        data_format: str = "NHWC",
        batch_norm_fused: bool = False,
        batch_renorm: bool = False,
        image_height: int | None = None,
        image_width: int | None = None,
        **options: Any,
    ) -> NetworkFn:
        """Return the function that builds the network on a batch of images.

        It takes images as [batch, height, width, channels] whatever the `data_format`, of any integer or float type, in
        0..255. float16 and bfloat16 are computed in their own type, all others in float32. It returns the logits,
        [batch, num_classes], and a dict of end points, those that `build` has put into its context.

        Args:
            run_mode: TRAIN normalizes by the batch and updates the moving averages; other modes normalize by these.
            num_classes: the number of logits of an image.
            weight_decay: factor of the L2 loss (half the sum of squares) of each kernel, in REGULARIZATION_LOSSES.
            data_format: 'NHWC' or 'NCHW', the layout of the end points, and of the computation where network and
                device can do it. Where they cannot, and in EXPORT, NCHW is computed as NHWC: same variables, same
                results.
            batch_norm_fused: no effect: the fused kernel is always used, as it is faster on CPUs too.
            batch_renorm: not supported.
            image_height: checks, or completes, the static shape of the images.
            image_width: checks, or completes, the static shape of the images.
            options: `preprocess_fn`, a `preprocess_fn(images, run_mode)` in place of the network's own preprocessing,
                None for none; and the options of this network.

        Raises:
            UsageError: if an option is unknown or wrong; or, from the returned function, if the images are wrong.
        """
        del batch_norm_fused
        preprocess = options.pop("preprocess_fn", self.preprocess)
        if not (preprocess is None or callable(preprocess)):
            raise UsageError(f"preprocess_fn is {preprocess!r}, which must be a function (images, run_mode), or None")
        self._check_options(run_mode, num_classes, weight_decay, data_format, batch_renorm, options)
        height = None if image_height is None else check_count("image_height", image_height)
        width = None if image_width is None else check_count("image_width", image_width)

        def network(images: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            net = self._checked(tf.convert_to_tensor(images), height, width)
            if preprocess is not None:
                net = self._checked(tf.convert_to_tensor(preprocess(net, run_mode)), None, None)
            if net.dtype not in (tf.float16, tf.bfloat16):
                net = tf.cast(net, tf.float32)
            layout = data_format if data_format == "NHWC" or self._computes_nchw(net, run_mode) else "NHWC"
            context = self._context(run_mode, num_classes, weight_decay, layout)
            with tf.compat.v1.variable_scope(self.scope) if self.scope else nullcontext():
                logits = self.build(_transposed(net, "NHWC", layout), context, **{**self.options, **options})
            end_points = {key: _transposed(value, layout, data_format) for key, value in context.end_points.items()}
            return logits, end_points

        return network

    def _context(self, run_mode: str, num_classes: int, weight_decay: float, data_format: str) -> Context:
        return Context(
            run_mode=run_mode,
            num_classes=num_classes,
            weight_decay=weight_decay,
            data_format=data_format,
            batch_norm_decay=self.batch_norm_decay,
            batch_norm_epsilon=self.batch_norm_epsilon,
            batch_norm_scale=self.batch_norm_scale,
            initializer=self.initializer,
            initial_bias=self.initial_bias,
            decays_biases=self.decays_biases,
            layer_end_points=self.layer_end_points,
        )

    def _check_options(
        self,
        run_mode: str,
        num_classes: int,
        weight_decay: object,
        data_format: str,
        batch_renorm: object,
        options: dict[str, Any],
    ) -> None:
        known = f"those of get_model_fn, {', '.join(sorted(self.options)) or 'no others'}"
        unknown = {name: value for name, value in options.items() if name not in self.options}
        check_unknown(unknown, owner=f"network {self.name!r}", known=known)
        for name, value in options.items():
            self.checks.get(name, _unchecked)(name, value)
        check_run_mode(run_mode)
        check_count("num_classes", num_classes)
        if not isinstance(weight_decay, numbers.Real) or not 0 <= float(weight_decay) < math.inf:
            raise UsageError(f"weight_decay is {weight_decay!r}, which must be a finite number of at least 0")
        if data_format not in ("NHWC", "NCHW"):
            raise UsageError(f"data_format is {data_format!r}, which must be 'NHWC' or 'NCHW'")
        if batch_renorm:
            raise UsageError(
                f"batch_renorm=True is not supported by network {self.name!r}: leave it out to train with batch "
                "normalization"
            )

    def _checked(self, images: tf.Tensor, height: int | None, width: int | None) -> tf.Tensor:
        """Return the images with all that is known of their static shape.

        Raises:
            UsageError: if their dtype or shape is wrong.
        """
        if not (images.dtype.is_integer or images.dtype.is_floating):
            raise UsageError(
                f"images for network {self.name!r} have dtype {images.dtype.name!r}, which must be an integer or float "
                "type"
            )
        if images.shape.rank not in (None, 4):
            raise UsageError(
                f"images for network {self.name!r} have shape {images.shape}, which must be "
                "[batch, height, width, channels]: give a batch of images"
            )
        if images.shape.rank is not None and _looks_like_nchw(*images.shape[1:]):
            raise UsageError(
                f"images for network {self.name!r} have shape {images.shape}, with channels in front: give them as "
                "[batch, height, width, channels], whatever the data_format: tf.transpose(images, [0, 2, 3, 1])"
            )
        expected = tf.TensorShape([None, height, width, None])
        if not images.shape.is_compatible_with(expected):
            raise UsageError(
                f"images for network {self.name!r} have shape {images.shape}, but image_height={height!r} and "
                f"image_width={width!r} were given: leave these out, or resize the images"
            )
        if images.shape.with_rank(4)[3] is None:
            expected = expected.merge_with([None, None, None, 3])
        checked: tf.Tensor = tf.ensure_shape(images, expected)
        return checked

    def _computes_nchw(self, net: tf.Tensor, run_mode: str) -> bool:
        """Return whether the network and its devices can compute in NCHW. An exported model runs anywhere: no."""
        return self.does_nchw and run_mode != ModeKeys.EXPORT and not on_cpu(net)


def _looks_like_nchw(*shape: int | None) -> bool:
    """Whether images, taken as [height, width, channels], would be 1 or 3 pixels high, with a channel for each column.

    Args:
        shape: three sizes, each None where it is not known.
    """
    high, wide, channels = shape
    return high in (1, 3) and wide is not None and wide == channels and wide not in (1, 3)


def _unchecked(name: str, value: object) -> None:
    del name, value


def _transposed(net: tf.Tensor, given: str, wanted: str) -> tf.Tensor:
    if given == wanted or net.shape.rank != len(given):
        return net
    return tf.transpose(net, [given.index(axis) for axis in wanted])
