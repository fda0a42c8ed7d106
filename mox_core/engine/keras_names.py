"""The names that Keras gives to layers and variables, made the same in every trace.

Keras numbers its layers by counters of the process and keeps the path of what is being built in a global stack. Neither
has a public door; this module is the only one that reaches inside, and does nothing while Keras is not imported.
"""

from __future__ import annotations

import collections
import contextlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_COUNTERS = "object_name_uids"
_SCOPES = "name_scope_stack"
_INITIALIZE = "_initialize"  # the method in which a variable of Keras makes that of TensorFlow


def _global_state() -> Any | None:
    return sys.modules.get("keras.src.backend.common.global_state")


@contextlib.contextmanager
def fresh_layer_names() -> Iterator[None]:
    """Counts layers from one in the block, and goes on with the counts of before after it."""
    state = _global_state()
    before = state.get_global_attribute(_COUNTERS) if state else None
    if state:
        state.set_global_attribute(_COUNTERS, collections.defaultdict(int))
    try:
        yield
    finally:
        state = _global_state()
        if state:
            state.set_global_attribute(_COUNTERS, before if before is not None else collections.defaultdict(int))


def path_of_new_variable() -> str:
    """Returns Keras's path of the variable for which TensorFlow is asked just now, '' where Keras does not ask.

    The scopes do not tell it: Keras makes the variables of layers inside a subclassed model when it has left them.
    """
    kind = getattr(sys.modules.get("keras"), "Variable", None)
    frame = sys._getframe(1) if kind else None  # noqa: SLF001  (the call gives no hint of the caller)
    while frame is not None:
        owner = frame.f_locals.get("self") if frame.f_code.co_name.endswith(_INITIALIZE) else None
        if kind and isinstance(owner, kind):
            return str(owner.path)
        frame = frame.f_back
    return ""


def current_path() -> str:
    """Returns the path of the Keras object that is being built, '' outside of any."""
    state = _global_state()
    parts: list[str] = []
    for entry in (state.get_global_attribute(_SCOPES) if state else None) or ():
        if entry.override_parent is not None:
            parts = [part for part in entry.override_parent.split("/") if part]
        parts.append(entry.name)
    return "/".join(parts)
