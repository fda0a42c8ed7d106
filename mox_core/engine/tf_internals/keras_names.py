"""The names that Keras gives to layers and variables, made the same in every trace.

Keras numbers its layers by counters of the process and keeps what is being built in a global stack. Neither has a
public door; this module is the only one that reaches inside, and does nothing while Keras is not imported.
"""

from __future__ import annotations

import collections
import contextlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COUNTERS = "object_name_uids"
_SCOPES = "name_scope_stack"


def _global_state() -> Any | None:
    return sys.modules.get("keras.src.backend.common.global_state")


@contextlib.contextmanager
def fresh_layer_names(*, reserve: bool = False) -> Iterator[None]:
    """Count Keras's layers without names from one in the block, as a new process does.

    Args:
        reserve: whether no name of the block comes again after it, as what is made in it stands beside what is made
            later; otherwise the counts of before go on, as the block is a scope or a graph of its own.
    """
    state = _global_state()
    before = dict(state.get_global_attribute(_COUNTERS) or {}) if state else {}
    if state:
        state.set_global_attribute(_COUNTERS, collections.defaultdict(int))
    try:
        yield
    finally:
        if state := _global_state():
            counts = collections.Counter(before)
            if reserve:
                counts |= collections.Counter(state.get_global_attribute(_COUNTERS) or {})
            state.set_global_attribute(_COUNTERS, collections.defaultdict(int, counts))


def scopes() -> Sequence[Any]:
    """Return the name scopes of Keras that are open in this thread, the innermost last."""
    state = _global_state()
    return (state.get_global_attribute(_SCOPES) if state else None) or ()


def current_path() -> str:
    """Return the path of the Keras object that is being built, '' outside of any."""
    parts: list[str] = []
    for entry in scopes():
        if entry.override_parent is not None:
            parts = [part for part in entry.override_parent.split("/") if part]
        parts.append(entry.name)
    return "/".join(parts)
