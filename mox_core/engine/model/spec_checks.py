"""Checks of what `model_fn` returned against what its mode needs."""

from __future__ import annotations

from typing import Any, Final

import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.modes import ModeKeys
from mox_core.specs import ModelSpec

REQUIRED_FIELDS: Final = {
    ModeKeys.TRAIN: "loss",
    ModeKeys.EVAL: "log_info",
    ModeKeys.PREDICT: "output_info",
    ModeKeys.EXPORT: "export_spec",
}
"""The field of ModelSpec that each mode needs."""


def check_spec(spec: object, required: str | None, mode: str) -> None:
    """Check what `model_fn` returned against what the mode needs.

    Args:
        spec: what it returned.
        required: the field that the mode needs; None for none.
        mode: the mode, for the error.

    Raises:
        UsageError: with the mode, the field, and what it holds.
    """
    if not isinstance(spec, ModelSpec):
        raise UsageError(f"model_fn returned {spec!r} in mode {mode}. It returns a mox.ModelSpec(...).")
    value = getattr(spec, required) if required else None
    if required and (value is None or (isinstance(value, (dict, list, tuple)) and not value)):
        raise UsageError(
            f"model_fn returned a ModelSpec without {required} in mode {mode}, which needs it: "
            f"pass ModelSpec({required}=...)."
        )
    if isinstance(spec.loss, (list, tuple)):
        for number, loss in enumerate(spec.loss):
            _check_loss(loss, f"loss[{number}]", training=mode == ModeKeys.TRAIN)
    elif spec.loss is not None:
        _check_loss(spec.loss, "loss", training=mode == ModeKeys.TRAIN)


def warn_of_no_outputs(spec: ModelSpec, mode: str) -> None:
    """Say that `output_fn` gets nothing: in the modes that do not need it to get something."""
    if not spec.output_info:
        tf.get_logger().warning(
            "output_fn gets empty dicts in mode %s: model_fn returned a ModelSpec without output_info.", mode
        )


def _check_loss(value: Any, name: str, *, training: bool) -> None:
    tensor = tf.convert_to_tensor(value)
    check_scalar(tensor, name)
    if training and not tensor.dtype.is_floating:
        raise UsageError(
            f"ModelSpec {name} is a {tensor.dtype.name} tensor, and whole numbers have no gradient: nothing could be "
            "trained. Compute it in floating point, from the outputs of the network and not from tf.argmax or tf.round "
            "of them; for what is only logged there is log_info."
        )


def check_scalar(value: Any, name: str) -> None:
    """Refuse what is no scalar number.

    Raises:
        UsageError: with what it is.
    """
    tensor = tf.convert_to_tensor(value)
    is_number = tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool
    if tensor.shape.rank not in (0, None) or not is_number:
        raise UsageError(
            f"ModelSpec {name} is a {tensor.dtype.name} tensor of shape {tensor.shape}. It must be a scalar number: "
            "use tf.reduce_mean, for instance."
        )
