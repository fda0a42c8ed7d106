"""The names that Keras gives to layers and variables, made the same in every trace, and what Keras knows of a variable.

Keras numbers its layers by counters of the process and keeps the path of what is being built in a global stack. Neither
has a public door; this module is the only one that reaches inside, and does nothing while Keras is not imported.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import sys
from typing import TYPE_CHECKING, Any

from attrs import frozen

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


def new_variable() -> NewVariable | None:
    """Returns what Keras is making when it asks TensorFlow for a variable just now, None where Keras does not ask.

    The scopes do not tell it: Keras makes the variables of layers inside a subclassed model when it has left them.
    """
    keras = sys.modules.get("keras")
    kinds: Any = getattr(keras, "Variable", None), getattr(getattr(keras, "layers", None), "Layer", None)
    path = None
    frame = sys._getframe(1) if all(kinds) else None  # noqa: SLF001  (the call gives no hint of the caller)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if path is None and frame.f_code.co_name.endswith(_INITIALIZE) and isinstance(owner, kinds[0]):
            path = str(owner.path)
        elif path is not None and isinstance(owner, kinds[1]):
            return NewVariable(path, owner)
        frame = frame.f_back
    return None if path is None else NewVariable(path, None)


def current_path() -> str:
    """Returns the path of the Keras object that is being built, '' outside of any."""
    state = _global_state()
    parts: list[str] = []
    for entry in (state.get_global_attribute(_SCOPES) if state else None) or ():
        if entry.override_parent is not None:
            parts = [part for part in entry.override_parent.split("/") if part]
        parts.append(entry.name)
    return "/".join(parts)


def survey() -> Survey:
    """Looks through the process for the variables and layers of Keras: no way leads from TensorFlow's to Keras's."""
    keras = sys.modules.get("keras")
    if keras is None or _global_state() is None:
        return Survey({}, frozenset())
    kinds = (keras.Variable, keras.layers.Layer)
    objects = [each for each in gc.get_objects() if issubclass(type(each), kinds)]
    variables = [each for each in objects if isinstance(each, keras.Variable)]
    layers = [each for each in objects if not isinstance(each, keras.Variable)]
    paths = {_id(each): str(each.path) for each in variables}
    # Their own paths are numbered by the process, and no user can name them.
    states = [
        (f"{getattr(layer, 'path', None) or layer.name}/{value.state.name}", _id(value.state))
        for layer in layers
        for value in list(vars(layer).values())
        if isinstance(value, keras.random.SeedGenerator)
    ]
    paths |= {key: path for path, key in sorted(states, reverse=True)}
    fixed = [each for layer in layers if not getattr(layer, "trainable", True) for each in layer.variables]
    fixed += [each for each in variables if not each.trainable]
    return Survey(paths, frozenset(map(_id, fixed)))


def _id(variable: Any) -> int:
    # `value` may be a cast of it; where making it has failed there is none.
    return id(getattr(variable, "_value", None))


@frozen
class NewVariable:
    """A variable that Keras is making.

    Attributes:
        path: Keras's path of it.
        layer: the layer that asked for it, None where none did.
    """

    path: str
    layer: Any


@frozen
class Survey:
    """What Keras knows of TensorFlow's variables, by their `id`.

    Attributes:
        paths: Keras's path; that of its layer for the state of a seed generator.
        fixed: the variables that Keras does not train, because of their own flag or that of a layer.
    """

    paths: dict[int, str]
    fixed: frozenset[int]
