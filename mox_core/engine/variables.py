"""One store of variables for all modes of a run. A variable's name is its identity.

The same name in another mode, trace or process is the same variable. Names never depend on what ran before.
"""

from __future__ import annotations

import collections
import contextlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import field, frozen

from mox_core.engine import keras_names, keras_variables, randomness
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mox_core.engine.replicator import Replicator

_RANDOM_STATE = "/seed_generator_state"
"""How Keras names what it draws random numbers from."""

_READS = frozenset({"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape"})
"""Operations that leave a variable as it is."""

_IDENTITY = "_mox_name"
"""The attribute of a variable under which its name is kept: a later run that adopts it goes on with that."""


@frozen
class Names:
    """What one copy of a model has asked for in a trace: names by how often, and the layers that asked."""

    used: collections.Counter[str] = field(factory=collections.Counter)
    layers: dict[str, Any] = field(factory=dict)


class VariableStore:
    """The variables of one run by name.

    Attributes:
        by_name: every variable that a trace has asked for, in the order of creation, and those that were taken over.
        of_keras: whether Keras has asked for any.
    """

    def __init__(self, seed: int, replicator: Replicator) -> None:
        self._seed = seed
        self._replicator = replicator
        self.by_name: dict[str, tf.Variable] = {}
        self.of_keras = False
        self._copies: list[tuple[tf.Variable, tf.Variable]] = []
        self._adopted: set[str] = set()
        self._made_twice: set[str] = set()
        # Of the present trace:
        self._doubles: list[tuple[str, tf.Variable]] = []
        self._new_states: list[str] = []
        self._asked: list[tf.Variable] = []

    @contextlib.contextmanager
    def scope(self, graph: tf.Graph, constants: Mapping[str, Any], names: Names | None = None) -> Iterator[None]:
        """Makes variables of the block come from this store.

        Args:
            graph: the graph that is being traced.
            constants: values for inputs of the graph, by op name, from which an initial value may be computed.
            names: those that the trace has asked for in other blocks; none if not given.
        """
        names = names or Names()
        used, layers = names.used, names.layers

        def create(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
            asked = keras_variables.new_variable()
            plain = _full_name(kwargs.get("name") or "Variable", asked)
            self.of_keras |= asked is not None
            layer = asked.layer if asked else None
            if plain in self._adopted:
                raise UsageError(_same_name(plain))
            double = layers.setdefault(plain, layer) is not layer
            name = plain if plain in self._made_twice else _numbered(plain, used)
            variable = self.by_name.get(name)
            if double and name != plain:
                variable = self._create(next_creator, name, graph, constants, kwargs)
                self._doubles.append((plain, variable))
                return variable
            if variable is None:
                variable = self._create(next_creator, name, graph, constants, kwargs)
                self.by_name[name] = variable
                for part in _parts(variable):  # TensorFlow collects these instead
                    _remove(part, graph)
                if _parts(variable):
                    _collect(variable, kwargs.get("collections"), graph)
                if name.endswith(_RANDOM_STATE):
                    self._new_states.append(name)
            else:
                _check_same(variable, name, kwargs)
                _collect(variable, kwargs.get("collections"), graph)
            return variable

        with tf.variable_creator_scope(create):
            yield

    @contextlib.contextmanager
    def optimizers_of(self, copy: int, scope: Callable[[], contextlib.AbstractContextManager[None]]) -> Iterator[None]:
        """Keeps the variables that optimizers make in the block: of the first copy in the store, of others beside it.

        All copies make the same variables in the same order.

        Args:
            copy: the number of the copy.
            scope: the store's own scope in the present trace.
        """
        if copy == 0:
            self._asked.clear()
        firsts = iter(list(self._asked))

        def create(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
            if copy == 0:
                self._asked.append(next_creator(**kwargs))
                return self._asked[-1]
            first = next(firsts)
            name = f"{first.name.partition(':')[0]}/copy_{copy}"
            with tf.init_scope(), tf.compat.v1.name_scope(None):
                variable = next_creator(**{**kwargs, "initial_value": first.read_value(), "name": name})
            self._copies.append((first, variable))
            return variable

        with scope() if copy == 0 else contextlib.nullcontext(), tf.variable_creator_scope(create):
            yield

    def spread(self) -> None:
        """Gives the state of optimizers on other devices the values of the first, after a restore."""
        for first, variable in self._copies:
            variable.assign(first)

    def known(self) -> set[int]:
        """The ids of all variables that this store keeps, and of their parts on several devices."""
        whole = [*self.by_name.values(), *(copy for _, copy in self._copies)]
        return {id(each) for variable in whole for each in (variable, *_parts(variable))}

    def moved(self, graph: Any) -> list[tf.Variable]:
        """Returns the variables that are not trained, and that the graph changes: moving averages, of each copy."""
        inner = {id(outer): placeholder for outer, placeholder in graph.captures}
        known = [each for each in self.by_name.values() if not each.trainable and each.dtype.is_floating]
        users = {handle: placeholder.consumers() for handle, placeholder in inner.items()}
        changed = {handle for handle, operations in users.items() if any(op.type not in _READS for op in operations)}
        return [part for variable in known if _handles(variable) & changed for part in _parts(variable) or (variable,)]

    def settle(self, graph: Any) -> None:
        """Gives a name that two layers of a trace have asked for to the one that is used; forgets unused random states.

        The other layer is of a model that was made only for its JSON, say. Keras makes random states by the dozen, and
        numbers them: one that nobody draws from must not be missed in a checkpoint.

        Raises:
            UsageError: where both are.
        """
        captured = {id(outer) for outer, _ in graph.captures}
        for name, second in self._doubles:
            first = self.by_name[name]
            used, unused = (first, second) if _handles(first) & captured else (second, first)
            if _handles(unused) & captured:
                raise UsageError(_same_name(name))
            self.by_name[name] = used
            _rename(used, name)
            self._made_twice.add(name)
            _remove(unused, graph)
        self._doubles.clear()
        for name in self._new_states:
            if not _handles(self.by_name[name]) & captured:
                _remove(self.by_name.pop(name), graph)
        self._new_states.clear()

    def adopt(self, variable: tf.Variable, path: str, graph: tf.Graph) -> None:
        """Takes over a variable that was made outside of the run.

        Args:
            variable: of a Keras model.
            path: Keras's path of it, which becomes its name, unless an earlier run has given it one.
            graph: uses it.

        Raises:
            UsageError: where another variable has this name.
        """
        name = getattr(variable, _IDENTITY, path)
        if name in self.by_name:
            raise UsageError(_same_name(name))
        _rename(variable, name)
        self.by_name[name] = variable
        self._adopted.add(name)
        _collect(variable, None, graph)

    def _create(
        self,
        next_creator: Callable[..., tf.Variable],
        name: str,
        graph: tf.Graph,
        constants: Mapping[str, Any],
        kwargs: dict[str, Any],
    ) -> tf.Variable:
        value = kwargs["initial_value"]
        if tf.is_tensor(value) and not isinstance(value, tf.Variable) and hasattr(value, "graph"):
            kwargs["initial_value"] = _evaluate(value, name, graph, constants)
        # Outside the trace, and with a seed made of the name: the value does not depend on what was created before.
        with (
            tf.init_scope(),
            tf.compat.v1.name_scope(None),
            randomness.seeded(f"{self._seed}/{name}"),
            self._replicator.place(name, self.by_name),
        ):
            variable = next_creator(**{**kwargs, "name": name})
        setattr(variable, _IDENTITY, name)
        return variable


def _parts(variable: tf.Variable) -> tuple[tf.Variable, ...]:
    """The copies of a variable that is on several devices; none of one that is not."""
    return tuple(variable.values) if isinstance(variable, tf.distribute.DistributedValues) else ()


def _handles(variable: Any) -> set[int]:
    return {id(each.handle) for each in _parts(variable) or (variable,)}


def _rename(variable: tf.Variable, name: str) -> None:
    """Gives a variable its name also in TensorFlow's eyes: scopes and the slots of optimizers go by that.

    Variables inside a subclassed model of Keras are all called alike there, '<model>/kernel' for instance.
    """
    variable._handle_name = f"{name}:0"  # type: ignore[attr-defined]  # noqa: SLF001  (nothing public renames it)
    setattr(variable, _IDENTITY, name)


def _same_name(name: str) -> str:
    return (
        f"model_fn uses two variables {name!r}, and a variable is saved and shared by its name. "
        "Give Keras layers names of their own, as in keras.layers.Dense(..., name='head'), or make one model under "
        "keras.name_scope('first') outside of model_fn, under tf.compat.v1.variable_scope('first') inside."
    )


def _full_name(name: str, asked: keras_variables.NewVariable | None) -> str:
    if asked:
        scope = tf.compat.v1.get_variable_scope().name
        return f"{scope}/{asked.path}" if scope else asked.path
    name = name.rstrip("/")
    keras_path = keras_names.current_path()
    if keras_path and tf.get_current_name_scope():
        scope = tf.compat.v1.get_variable_scope().name
        return "/".join(part for part in (scope, keras_path, name) if part)
    scope = tf.get_current_name_scope()
    return f"{scope}/{name}" if scope else name


def _numbered(name: str, used: collections.Counter[str]) -> str:
    """Tells apart what one trace gives the same name to (`tf.Variable(..., name='x')` twice), by order, as TF1 does."""
    used[name] += 1
    return name if used[name] == 1 else _numbered(f"{name}_{used[name] - 1}", used)


def _collect(variable: tf.Variable, collections_: list[str] | None, graph: tf.Graph) -> None:
    """Adds a variable that exists already to the collections of the graph, as creating it would have done."""
    names = list(collections_) if collections_ is not None else [tf.compat.v1.GraphKeys.GLOBAL_VARIABLES]
    if variable.trainable and tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES not in names:
        names.append(tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES)
    for collection in names:
        graph.add_to_collection(collection, variable)


def _remove(variable: tf.Variable, graph: Any) -> None:
    """Takes a variable out of the collections of a graph."""
    for key in graph.collections:
        kept = graph.get_collection_ref(key)
        kept[:] = [each for each in kept if each is not variable]


def _check_same(variable: tf.Variable, name: str, kwargs: dict[str, Any]) -> None:
    shape = kwargs.get("shape")
    value = kwargs["initial_value"]
    if shape is None and not callable(value):
        shape = tf.convert_to_tensor(value).shape if not tf.is_tensor(value) else value.shape
    if shape is not None and not variable.shape.is_compatible_with(tf.TensorShape(shape)):
        msg = (
            f"variable {name!r} has shape {variable.shape} in one mode and {tf.TensorShape(shape)} in another. "
            "The modes of a run share their variables by name: give both the same shape, or other names."
        )
        raise UsageError(msg)


def _evaluate(value: tf.Tensor, name: str, graph: tf.Graph, constants: Mapping[str, Any]) -> Any:
    """Computes an initial value that was given as a tensor of the trace: TensorFlow cannot lift it out by itself."""
    static = tf.get_static_value(value)
    if static is not None:
        return static
    # What the trace captures is there already: the variables that were made before, for instance.
    known = {**constants} | {inner.op.name: outer for outer, inner in getattr(graph, "captures", ())}
    nodes = _ancestors(value.op, known, name)
    graph_def = tf.compat.v1.GraphDef()
    graph_def.CopyFrom(graph.as_graph_def())
    del graph_def.node[:]
    graph_def.node.extend(op.node_def for op in nodes)

    def body() -> tf.Tensor:
        present = {node.name for node in graph_def.node}
        inputs = {f"{each}:0": tf.convert_to_tensor(there) for each, there in known.items() if each in present}
        return tf.graph_util.import_graph_def(graph_def, inputs, [value.name], name="")[0]

    with tf.init_scope():
        return tf.compat.v1.wrap_function(body, [])().numpy()


def _ancestors(op: tf.Operation, known: Mapping[str, Any], name: str) -> list[tf.Operation]:
    found: dict[str, tf.Operation] = {}
    waiting = [op]
    while waiting:
        current = waiting.pop()
        if current.name in found:
            continue
        found[current.name] = current
        if current.name in known:
            continue
        if current.type == "Placeholder":
            msg = (
                f"the initial value of variable {name!r} is computed from input data ({current.name!r}), "
                "which is not there "
                "when variables are made. Compute it from constants, or pass an initializer."
            )
            raise UsageError(msg)
        waiting.extend(tensor.op for tensor in current.inputs)
        waiting.extend(current.control_inputs)
    return list(found.values())
