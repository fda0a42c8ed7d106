"""Large arrays of which `input_fn` makes datasets: its graph takes them by reference.

TensorFlow would write them into the graph as constants, where each function that is made of it copies them several
times, and none may have 2 GB.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf

from mox_core.engine.input.input_trace import trace_of
from mox_core.engine.tensors import LARGE, captured_constant
from mox_core.engine.tf_patches.replaced import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NUMBERS: Final = "biufc"
"""The kinds of arrays whose dtype TensorFlow knows at once."""


@contextlib.contextmanager
def arrays_by_reference() -> Iterator[None]:
    """Make datasets in the graph of `input_fn` hold large arrays by reference for the block."""
    makers = ("from_tensor_slices", "from_tensors")
    with replaced(*((tf.data.Dataset, name, _capturing(getattr(tf.data.Dataset, name))) for name in makers)):
        yield


def _capturing(original: Callable[..., Any]) -> Any:
    @functools.wraps(original)
    def make(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        traced = trace_of(tf.compat.v1.get_default_graph()) is not None
        return original(_captured(tensors) if traced else tensors, *args, **kwargs)

    return staticmethod(make)


def _captured(value: Any) -> Any:
    """Return a nest with tensors from outside of the graph for its large arrays; tf.data takes lists for arrays."""
    if isinstance(value, tuple):
        items = [_captured(each) for each in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, dict):
        copy = value.copy()
        for key, each in value.items():
            copy[key] = _captured(each)
        return copy
    if tf.is_tensor(value) or getattr(value, "nbytes", 0) < LARGE:
        return value
    array = np.asarray(value)  # of a column of pandas, for instance
    return captured_constant(array, tf.as_dtype(array.dtype)) if array.dtype.kind in _NUMBERS else value
