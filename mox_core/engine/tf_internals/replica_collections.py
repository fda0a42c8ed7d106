"""Collections and TF1's store of variables for each replica of a model that is traced in one graph.

Each replica is traced in a thread and a context of its own. TensorFlow keeps both for the graph as a whole: in the
second replica `get_variable` would find every variable there already, and add no regularization loss.
"""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

# No public name tells what `get_variable` has made.
from tensorflow.python.ops import variable_scope  # type: ignore[attr-defined]  # not in the stubs

from mox_core.engine.tf_internals.variables import parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator


_OF_REPLICAS: Final = "_mox_collections_of_replicas"
"""An attribute of graphs: what each replica has added to collections, by its number."""

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
    setattr(graph, _OF_REPLICAS, {})
    add = graph.add_to_collection

    def add_for_replica(name: str, value: Any) -> None:
        own = _collections.get()
        if own is not None and _waits(value, graph):
            value = tf.convert_to_tensor(value)
        add(name, value)
        if own is not None:
            own.setdefault(name, []).append(value)

    graph.add_to_collection = add_for_replica
    kept = graph.get_collection_ref(variable_scope._VARSTORE_KEY)  # noqa: SLF001  (see above)
    kept[:] = [_StoreOfReplicas(variable_scope._VariableStore())]  # noqa: SLF001


def _waits(value: Any, graph: Any) -> bool:
    """Whether a loss of `get_variable(regularizer=...)` would be computed where it is used, by then without a replica.

    One made in a branch is left as it is: nothing else can use what it has computed there.
    """
    return isinstance(value, variable_scope._LazyEvalTensor) and value.graph is graph  # noqa: SLF001  (see above)


@contextlib.contextmanager
def replica_scope(graph: Any, replica: int) -> Iterator[None]:
    """Begin a replica, in its context: with the same names as the first one, and empty collections."""
    _collections.set(getattr(graph, _OF_REPLICAS).setdefault(replica, {}))
    _variables.set(variable_scope._VariableStore())  # noqa: SLF001  (see above)
    root = tf.compat.v1.VariableScope(reuse=False, name="")
    with tf.compat.v1.name_scope(None), tf.compat.v1.variable_scope(root, auxiliary_name_scope=False):
        yield


def collection_of_replica(graph: tf.Graph, key: str) -> Collection:
    """Return what the present replica has added to a collection; outside of replicas, all of it.

    What has been taken out again is left out: the parts of a variable on several devices, for which it stands itself.
    """
    own, whole = _collections.get(), graph.get_collection(key)
    if own is None:
        return Collection(whole)
    present = set(map(id, whole))
    return Collection(each for each in own.get(key, []) if id(each) in present)


@contextlib.contextmanager
def seen_by_replica(graph: Any, replica: int) -> Iterator[None]:
    """Have in the collections of a graph, for the block, what a replica has put there, and what no replica has.

    What an optimizer finds there has to be what its gradients are of, and each once: the calls of `model_fn` for all
    replicas have put the same variables there, and losses of their own. Variables are the parts of the replica.
    """
    before = {key: list(graph.get_collection_ref(key)) for key in graph.collections}
    parts = {id(each): parts_of(each)[replica] for whole in before.values() for each in whole if parts_of(each)}
    for key, whole in before.items():
        foreign = set(map(id, _of_others(graph, replica, key)))
        once = {
            id(each) if id(each) in parts else (number,): each
            for number, each in enumerate(whole)
            if id(each) not in foreign
        }
        graph.get_collection_ref(key)[:] = [parts.get(id(each), each) for each in once.values()]
    known = {id(each) for whole in before.values() for each in whole} | set(map(id, parts.values()))
    try:
        yield
    finally:
        for key in graph.collections:
            new = [each for each in graph.get_collection_ref(key) if id(each) not in known]
            graph.get_collection_ref(key)[:] = before.get(key, []) + new


def _of_others(graph: Any, replica: int, key: str) -> list[Any]:
    """Return what only other replicas than this one have added to a collection."""
    collections = getattr(graph, _OF_REPLICAS, {})
    own = set(map(id, collections.get(replica, {}).get(key, [])))
    added = [each for number, kept in collections.items() if number != replica for each in kept.get(key, [])]
    return [each for each in added if id(each) not in own]
