"""One store of variables for all modes of a run. A variable's name is its identity.

The same name in another mode, trace or process is the same variable. Names never depend on what ran before.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from attrs import frozen

from mox_core.engine import randomness
from mox_core.engine.tf_internals import func_graph, keras_owners
from mox_core.engine.tf_internals.variables import SEED_GENERATOR_STATE, handles_of, local_parts, parts_of, rename
from mox_core.engine.variables.initial_values import evaluate_initial_value
from mox_core.engine.variables.names import TraceNames, full_name, numbered, same_name_message
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mox_core.engine.distribute.replicator import Replicator

READS = frozenset({"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape"})
"""Types of the operations that read a variable and do not change it."""

HELD = "mox/held_assignments"
"""The collection of the assignments of a graph that no step runs, as what they assign to stays as it is."""

_LOCAL = frozenset({tf.compat.v1.GraphKeys.LOCAL_VARIABLES, tf.compat.v1.GraphKeys.METRIC_VARIABLES})
"""Collections of variables that TF1 neither saves nor restores: those in which metrics count."""

_IDENTITY = "_mox_name"
"""The attribute of a variable that keeps its name, for a later run that adopts it."""


@frozen
class LocalVariable:
    """A variable that belongs to one trace and is in no checkpoint: the state of a metric, or a local one of TF1.

    Attributes:
        variable: the variable.
        initial: its initial value, with which each evaluation begins.
        before: the values of its parts on several devices, in the graph, before a step; empty on one device.
    """

    variable: tf.Variable
    initial: np.ndarray[Any, Any]
    before: tuple[tf.Tensor, ...] = ()


class VariableStore:
    """The variables of one run by name.

    Attributes:
        by_name: every variable that a trace has asked for, in the order of creation, and those that were adopted.
        of_keras: whether Keras has asked for any.
        of_optimizers: the names of those that optimizers and their wrappers have made.
    """

    def __init__(self, seed: int, replicator: Replicator) -> None:
        self._seed = seed
        self._replicator = replicator
        self.by_name: dict[str, tf.Variable] = {}
        self.of_keras = False
        self.of_optimizers: set[str] = set()
        self._constraints: dict[int, Callable[[Any], Any]] = {}
        self._others: list[tuple[tf.Variable, tf.Variable]] = []
        self._adopted: set[str] = set()
        self._made_twice: set[str] = set()
        self._locals: weakref.WeakKeyDictionary[tf.Graph, list[LocalVariable]] = weakref.WeakKeyDictionary()
        self._given: set[int] = set()
        # Of the present trace:
        self._doubles: list[tuple[str, tf.Variable]] = []
        self._new_states: list[str] = []
        self._asked: list[tf.Variable] = []
        self._followed: collections.Counter[int] = collections.Counter()

    @contextlib.contextmanager
    def scope(self, graph: tf.Graph, constants: Mapping[str, Any], names: TraceNames | None = None) -> Iterator[None]:
        """Take the variables of the block from this store.

        Args:
            graph: the graph that is being traced.
            constants: values for inputs of the graph, by op name, from which an initial value may be computed.
            names: names that the trace has asked for in other blocks; none if not given.
        """
        names = names or TraceNames()
        used, layers = names.used, names.layers

        def create(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
            asked = keras_owners.new_variable()
            make = functools.partial(self._create, next_creator, graph, constants, kwargs)
            plain = full_name(kwargs.get("name") or "Variable", asked)
            self.of_keras |= asked is not None
            if (asked and asked.metric is not None) or _LOCAL.intersection(kwargs.get("collections") or ()):
                kwargs["trainable"] = False
                return self._local(make, plain, graph, kwargs, names)
            layer = asked.layer if asked else None
            if plain in self._adopted:
                raise UsageError(same_name_message(plain))
            double = layers.setdefault(plain, layer) is not layer
            name = plain if plain in self._made_twice else numbered(plain, used)
            variable = self.by_name.get(name)
            if double and name != plain:
                variable = make(name)
                self._doubles.append((plain, variable))
                return variable
            if variable is None:
                variable = make(name)
                self.by_name[name] = variable
                if name.endswith(SEED_GENERATOR_STATE):
                    self._new_states.append(name)
            else:
                _check_same(variable, name, kwargs)
                _collect(variable, kwargs.get("collections"), graph)
            return variable

        with tf.variable_creator_scope(create):
            yield

    @contextlib.contextmanager
    def optimizers_of(
        self, replica: int, scope: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> Iterator[None]:
        """Keep the variables that optimizers make in the block: the first replica's in the store, others beside it.

        All replicas make the same variables in the same order, after `begin_optimizers`.

        Args:
            replica: the number of the replica.
            scope: returns the scope of the store in the present trace.
        """

        def create(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
            if replica == 0:
                self._asked.append(next_creator(**kwargs))
                self.of_optimizers.add(getattr(self._asked[-1], _IDENTITY))
                return self._asked[-1]
            first = self._asked[self._followed[replica]]
            self._followed[replica] += 1
            name = f"{first.name.partition(':')[0]}/replica_{replica}"
            with tf.init_scope(), tf.compat.v1.name_scope(None):
                variable = next_creator(**{**kwargs, "initial_value": first.read_value(), "name": name})
            self._others.append((first, variable))
            return variable

        with scope() if replica == 0 else contextlib.nullcontext(), tf.variable_creator_scope(create):
            yield

    def locals_of(self, graph: tf.Graph) -> list[LocalVariable]:
        """Return the variables that belong to a trace alone: what its metrics count in."""
        return list(self._locals.get(graph, []))

    def add_local(self, variable: tf.Variable, graph: tf.Graph) -> None:
        """Let a variable of a metric that was made outside of the run belong to a trace. Metrics begin at 0."""
        zeros = np.zeros(variable.shape, variable.dtype.as_numpy_dtype)
        self._locals.setdefault(graph, []).append(LocalVariable(variable, zeros))

    def begin_with(self, values: Iterable[tuple[tf.Variable, Any]]) -> None:
        """Assign initial values, but to variables that an earlier trace has given theirs.

        Args:
            values: variables, or their parts, with values.
        """
        given = {id(variable): (variable, value) for variable, value in values if id(variable) not in self._given}
        with tf.init_scope():
            for variable, value in given.values():
                for part in local_parts(variable):
                    part.assign(tf.cast(value, part.dtype))
            if given:
                self.copy_to_replicas()
        self._given |= given.keys()

    def begin_optimizers(self) -> None:
        """Forget what the optimizers of an earlier trace have asked for."""
        self._asked.clear()
        self._followed.clear()

    def constrain(self, constraints: Mapping[int, Callable[[Any], Any]]) -> None:
        """Keep the constraints that Keras's layers have put on variables of this store, by the `id` of the variable."""
        for variable in self.by_name.values():
            if (constraint := constraints.get(id(variable))) is not None:
                self._constraints |= {id(each): constraint for each in (variable, *parts_of(variable))}

    def constraint_of(self, variable: Any) -> Callable[[Any], Any] | None:
        """Return the constraint of a variable, or of a part of one; None for none."""
        return self._constraints.get(id(variable), variable.constraint)

    def copy_to_replicas(self) -> None:
        """Copy the optimizer state of the first replica to the others, after a restore."""
        for first, variable in self._others:
            variable.assign(first)

    def known(self) -> set[int]:
        """Return the ids of all variables that this store keeps, and of their parts on several devices."""
        local = [each.variable for of_trace in self._locals.values() for each in of_trace]
        whole = [*self.by_name.values(), *local, *(other for _, other in self._others)]
        return {id(each) for variable in whole for each in (variable, *parts_of(variable))}

    def moved(self, graph: Any) -> list[tf.Variable]:
        """Return the variables that are not trained, and that the graph updates: moving averages, of each replica."""
        inner = {id(outer): placeholder for outer, placeholder in func_graph.captures(graph)}
        known = [each for each in self.by_name.values() if not each.trainable and each.dtype.is_floating]
        held = {op.name for op in graph.get_collection(HELD)}
        users = {
            handle: [op for op in placeholder.consumers() if op.name not in held]
            for handle, placeholder in inner.items()
        }
        changed = {handle for handle, operations in users.items() if any(op.type not in READS for op in operations)}
        updated = [variable for variable in known if handles_of(variable) & changed]
        return [part for variable in updated for part in local_parts(variable)]

    def settle(self, graph: Any) -> None:
        """Assign a name that two layers of a trace have asked for to the one that is used; drop unused random states.

        The other layer is of a model that was made only for its JSON, say. Keras makes random states by the dozen, and
        numbers them: one that nobody draws from must not be missed in a checkpoint.

        Raises:
            UsageError: if both are used.
        """
        captured = {id(outer) for outer, _ in func_graph.captures(graph)}
        for name, second in self._doubles:
            first = self.by_name[name]
            used, unused = (first, second) if handles_of(first) & captured else (second, first)
            if handles_of(unused) & captured:
                raise UsageError(same_name_message(name))
            self.by_name[name] = used
            _set_name(used, name)
            self._made_twice.add(name)
            _remove(unused, graph)
        self._doubles.clear()
        for name in self._new_states:
            if not handles_of(self.by_name[name]) & captured:
                _remove(self.by_name.pop(name), graph)
        self._new_states.clear()

    def adopt(self, variable: tf.Variable, path: str, graph: tf.Graph) -> None:
        """Adopt a variable that was made outside of the run.

        Args:
            variable: variable of a Keras model.
            path: its path in Keras, which becomes its name, unless an earlier run has named it.
            graph: the graph that uses it.

        Raises:
            UsageError: if another variable has this name.
        """
        name = getattr(variable, _IDENTITY, path)
        if name in self.by_name:
            raise UsageError(same_name_message(name))
        _set_name(variable, name)
        self.by_name[name] = variable
        self._adopted.add(name)
        _collect(variable, None, graph)

    def _local(
        self,
        make: Callable[[str], tf.Variable],
        name: str,
        graph: tf.Graph,
        kwargs: Mapping[str, Any],
        names: TraceNames,
    ) -> tf.Variable:
        """Return a variable of this trace: a new one, or that of the first replica, of which each has a part."""
        made = self._locals.setdefault(graph, [])
        number, names.num_locals = names.num_locals, names.num_locals + 1
        if number < len(made) and made[number].before:
            # By the order: scopes of TF1 are numbered in the graph, and have other names in the second replica.
            variable = made[number].variable
            _collect(variable, kwargs.get("collections"), graph)
            return variable
        variable = make(numbered(name, names.used_locally))
        parts = parts_of(variable)
        with tf.init_scope():
            initial = local_parts(variable)[0].numpy()
        with graph.as_default():  # before anything counts in it
            before = tuple(part.read_value() for part in parts)
        made.append(LocalVariable(variable, initial, before))
        return variable

    def _create(
        self,
        next_creator: Callable[..., tf.Variable],
        graph: tf.Graph,
        constants: Mapping[str, Any],
        kwargs: dict[str, Any],
        name: str,
    ) -> tf.Variable:
        value = kwargs["initial_value"]
        if tf.is_symbolic_tensor(value):
            kwargs["initial_value"] = evaluate_initial_value(value, name, graph, constants)
        # Outside the trace, and with a seed made of the name: the value does not depend on what was created before.
        with (
            tf.init_scope(),
            tf.compat.v1.name_scope(None),
            randomness.seeded(f"{self._seed}/{name}"),
            self._replicator.device_scope(name, self.by_name),
        ):
            # Copies on another device, which `dynamic_rnn` asks for by a function, are made in graphs of TF1 only.
            variable = next_creator(**{**kwargs, "name": name, "caching_device": None})
        setattr(variable, _IDENTITY, name)
        for part in parts_of(variable):  # TensorFlow collects these instead
            _remove(part, graph)
        if parts_of(variable):
            _collect(variable, kwargs.get("collections"), graph)
        return variable


def _set_name(variable: tf.Variable, name: str) -> None:
    """Rename a variable in TensorFlow too: scopes and the slots of optimizers go by that name.

    Variables inside a subclassed model of Keras are all called alike there, '<model>/kernel' for instance.
    """
    rename(variable, name)
    setattr(variable, _IDENTITY, name)


def _collect(variable: tf.Variable, collections_: list[str] | None, graph: tf.Graph) -> None:
    """Add a variable that exists already to the collections of the graph, as creating it would have done."""
    names = list(collections_) if collections_ is not None else [tf.compat.v1.GraphKeys.GLOBAL_VARIABLES]
    if variable.trainable and tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES not in names:
        names.append(tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES)
    for collection in names:
        graph.add_to_collection(collection, variable)


def _remove(variable: tf.Variable, graph: Any) -> None:
    """Remove a variable from the collections of a graph."""
    for key in graph.collections:
        kept = graph.get_collection_ref(key)
        kept[:] = [each for each in kept if each is not variable]


def _check_same(variable: tf.Variable, name: str, kwargs: dict[str, Any]) -> None:
    shape = kwargs.get("shape")
    value = kwargs["initial_value"]
    if shape is None and not callable(value):
        shape = tf.convert_to_tensor(value).shape if not tf.is_tensor(value) else value.shape
    if shape is not None and not variable.shape.is_compatible_with(tf.TensorShape(shape)):
        raise UsageError(
            f"variable {name!r} has shape {variable.shape} in one mode and {tf.TensorShape(shape)} in another. "
            "The modes of a run share their variables by name: give both the same shape, or other names."
        )
