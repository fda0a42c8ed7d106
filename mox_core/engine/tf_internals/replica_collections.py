"""Collections and TF1's store of variables for each replica of a model that is traced in one graph.

Each replica is traced in a thread and a context of its own. TensorFlow keeps both for the graph as a whole: in the
second replica `get_variable` would find every variable there already, and add no regularization loss.
"""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, Any

import tensorflow as tf

# No public name tells what `get_variable` has made.
from tensorflow.python.ops import variable_scope  # type: ignore[attr-defined]  # not in the stubs

if TYPE_CHECKING:
    from collections.abc import Iterator


_collections: contextvars.ContextVar[dict[str, list[Any]] | None] = contextvars.ContextVar(
    "mox_collections_of_replica", default=None
)

_variables: contextvars.ContextVar[Any] = contextvars.ContextVar("mox_variables_of_replica", default=None)


class Collection(list[Any]):
    """What a collection of a graph holds. A variable is in it as an object, not if it equals one element by element."""

    def __contains__(self, wanted: object) -> bool:
        return any(each is wanted for each in self)


class _StoreOfReplicas:
    """Stands for the graph's store of TF1's variables, and forwards to that of the replica that is being traced."""

    def __init__(self, outside: Any) -> None:
        self._outside = outside

    def __getattr__(self, name: str) -> Any:
        own = _variables.get()
        return getattr(self._outside if own is None else own, name)


def prepare_graph(graph: Any) -> None:
    """Prepare a graph for several replicas, before the first of them is traced."""
    add = graph.add_to_collection

    def add_for_replica(name: str, value: Any) -> None:
        add(name, value)
        own = _collections.get()
        if own is not None:
            own.setdefault(name, []).append(value)

    graph.add_to_collection = add_for_replica
    kept = graph.get_collection_ref(variable_scope._VARSTORE_KEY)  # noqa: SLF001  (see above)
    kept[:] = [_StoreOfReplicas(variable_scope._VariableStore())]  # noqa: SLF001


@contextlib.contextmanager
def replica_scope() -> Iterator[None]:
    """Begin a replica, in its context: with the same names as the first one, and empty collections."""
    _collections.set({})
    _variables.set(variable_scope._VariableStore())  # noqa: SLF001  (see above)
    root = tf.compat.v1.VariableScope(reuse=False, name="")
    with tf.compat.v1.name_scope(None), tf.compat.v1.variable_scope(root, auxiliary_name_scope=False):
        yield


def collection_of_replica(graph: tf.Graph, key: str) -> Collection:
    """Return what the present replica has added to a collection; outside of replicas, all of it."""
    own = _collections.get()
    return Collection(graph.get_collection(key) if own is None else own.get(key, []))
