"""Variables of one dtype, computation in another: the manual's 4.8."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def var_scope(force_dtype: Any = None) -> Iterator[None]:
    """Make all floating-point variables of `tf.compat.v1.get_variable` in the block of one dtype.

    `get_variable` returns the dtype that was asked for: where that is another one, a tensor, the cast of the variable.
    Regularizers, collections, checkpoints and optimizers see the variable itself; the loss of a regularizer is cast as
    the variable is, so that it can be added to the loss of the logits. Layers of Keras do not ask `get_variable`: for
    them there is `dtype="mixed_float16"`.

    Args:
        force_dtype: dtype of the variables, `tf.float32` as a rule; None leaves the dtypes as they are.

    Raises:
        UsageError: if it is no floating-point type.
    """
    forced = None if force_dtype is None else _floating(force_dtype)
    scope = tf.compat.v1.get_variable_scope()
    getter = None if forced is None else _casting_getter(forced)
    # The scope that is there already, with a getter on top of its own; no name scope is opened once more.
    with tf.compat.v1.variable_scope(scope, custom_getter=getter, auxiliary_name_scope=False):
        yield


def _floating(force_dtype: Any) -> tf.DType:
    try:
        dtype = tf.as_dtype(force_dtype)
    except TypeError:
        dtype = None
    if dtype is None or not dtype.is_floating:
        raise UsageError(f"force_dtype is {force_dtype!r}, which must be a floating-point type such as tf.float32.")
    return dtype


def _casting_getter(forced: tf.DType) -> Callable[..., Any]:
    def get(getter: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        asked = tf.as_dtype(kwargs.get("dtype") or tf.float32)
        initializer = kwargs.get("initializer")
        if initializer is not None and not callable(initializer):
            initializer = tf.convert_to_tensor(initializer)  # TensorFlow goes by the type of a value
            asked = initializer.dtype
        if not asked.is_floating or asked == forced:
            return getter(name, *args, **kwargs)
        if initializer is not None and not callable(initializer):
            kwargs["initializer"] = tf.cast(initializer, forced)
        if kwargs.get("regularizer"):
            kwargs["regularizer"] = _casting_regularizer(kwargs["regularizer"], asked)
        return tf.cast(getter(name, *args, **{**kwargs, "dtype": forced}), asked)

    return get


def _casting_regularizer(regularizer: Callable[[Any], Any], asked: tf.DType) -> Callable[[Any], Any]:
    """Return a regularizer whose loss has the type of the computation, and can be added to that of the logits.

    It is computed from the variable itself: half precision would lose the squares of small weights.
    """

    def regularize(variable: Any) -> Any:
        loss = regularizer(variable)
        return loss if loss is None else tf.cast(loss, asked)

    return regularize
