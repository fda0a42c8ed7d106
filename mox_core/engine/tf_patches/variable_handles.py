"""The operation that makes a variable, without the name of the variable while a run lasts.

TensorFlow compiles an operation anew for each value of its attributes, and the name is one that only its messages about
deleted variables show: a network of hundreds of variables spends a third of a second on that.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.python.ops import gen_resource_variable_ops  # type: ignore[attr-defined]  # not in the stubs

from mox_core.engine.tf_patches.replaced import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def nameless_handles() -> Iterator[None]:
    """Make variables of the block by one operation for each shape and dtype; their own names stay."""
    original = gen_resource_variable_ops.var_handle_op
    with replaced((gen_resource_variable_ops, "var_handle_op", _nameless(original))):
        yield


def _nameless(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def var_handle_op(**attributes: Any) -> Any:
        if tf.executing_eagerly():
            attributes["debug_name"] = ""
        return original(**attributes)

    return var_handle_op
