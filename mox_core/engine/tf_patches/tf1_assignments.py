"""The functions of TF1 that assign variables, watched while a run lasts: what they make runs when it is asked for.

`variable.assign(...)`, TF2's, is part of a step, as in eager execution. `tf.compat.v1.assign(...)` returns an operation
for a session, and TF1 never ran it by itself.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.engine.tf_patches.replaced import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FUNCTIONS: Final = (
    "assign",
    "assign_add",
    "assign_sub",
    "batch_scatter_update",
    "count_up_to",
    "scatter_add",
    "scatter_div",
    "scatter_max",
    "scatter_min",
    "scatter_mul",
    "scatter_nd_add",
    "scatter_nd_sub",
    "scatter_nd_update",
    "scatter_sub",
    "scatter_update",
)

_made: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar("mox_tf1_assignments", default=None)


@contextlib.contextmanager
def watched_assignments() -> Iterator[None]:
    """Make TF1's functions tell `recorded_assignments` what they make."""
    v1 = tf.compat.v1
    with replaced(*((v1, name, _recording(getattr(v1, name), name)) for name in _FUNCTIONS)):
        yield


@contextlib.contextmanager
def recorded_assignments() -> Iterator[dict[str, str]]:
    """Record what the functions make in the block: the name of each operation, and that of the function."""
    made: dict[str, str] = {}
    token = _made.set(made)
    try:
        yield made
    finally:
        _made.reset(token)


def _recording(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        made = _made.get()
        if made is None:
            return function(*args, **kwargs)
        graph = tf.compat.v1.get_default_graph()
        before = len(graph.get_operations())
        result = function(*args, **kwargs)
        made.update((op.name, name) for op in graph.get_operations()[before:])
        return result

    return call
