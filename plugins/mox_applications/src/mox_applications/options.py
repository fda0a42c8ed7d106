"""The options of single networks, by Keras's names: those that Keras takes, and rates that it fixes."""

from __future__ import annotations

import inspect
import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.networks.checks import check_count, check_flag, check_multiplier

if TYPE_CHECKING:
    from collections.abc import Callable

_DROP_CONNECT: Final = 0.2
"""The rate of the last block in Keras's EfficientNets; those before it have a share of it."""


def keras_options(make: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return what a function of keras.applications takes of the options, and no preprocessing in the model."""
    known = inspect.signature(make).parameters
    given = {name: value for name, value in options.items() if name in known}
    return {**given, **({"include_preprocessing": False} if "include_preprocessing" in known else {})}


def apply_rates(model: Any, options: dict[str, Any], *, training: bool) -> None:
    """Give the layers of a model the rates that its function in keras.applications does not take."""
    layers = {each.name: each for each in model.layers}
    if options.get("drop_connect_rate") is not None:
        for name, layer in layers.items():
            if name.endswith("_drop"):
                layer.rate *= options["drop_connect_rate"] / _DROP_CONNECT
    if options.get("dropout_rate") is not None and "top_dropout" in layers:
        layers["top_dropout"].rate = options["dropout_rate"]
    if training and options.get("drop_path_rate"):
        ways = [each for name, each in layers.items() if name.endswith("_identity")]
        for number, layer in enumerate(ways):
            layer.activation = partial(_dropped_path, rate=options["drop_path_rate"] * number / (len(ways) - 1))


def _dropped_path(net: tf.Tensor, *, rate: float) -> tf.Tensor:
    """Leave the way through a block out for some samples (arXiv 1603.09382), and make up for it in the others."""
    if not rate:
        return net
    kept = tf.floor(1.0 - rate + tf.random.uniform(tf.stack([tf.shape(net)[0], 1, 1, 1])))
    return net * tf.cast(kept / (1.0 - rate), net.dtype)


def _check_rate(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 <= float(value) < 1:
        raise UsageError(f"{name} is {value!r}, which must be a number of at least 0, and below 1")


CHECKS: Final[dict[str, Callable[[str, Any], object]]] = {
    "alpha": check_multiplier,
    "depth_multiplier": check_count,
    "dropout": _check_rate,
    "dropout_rate": _check_rate,
    "drop_connect_rate": _check_rate,
    "drop_path_rate": _check_rate,
    "minimalistic": check_flag,
}
