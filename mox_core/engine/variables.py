"""One store of variables for all modes of a run. A variable's name is its identity.

The same name in another mode, trace or process is the same variable. Names never depend on what ran before.
"""

from __future__ import annotations

import collections
import contextlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine import keras_names, randomness
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class VariableStore:
    """The variables of one run by name.

    Attributes:
        by_name: every variable that a trace has asked for, in the order of creation.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.by_name: dict[str, tf.Variable] = {}

    @contextlib.contextmanager
    def scope(self, graph: tf.Graph, constants: Mapping[str, Any]) -> Iterator[None]:
        """Makes variables of the block come from this store.

        Args:
            graph: the graph that is being traced.
            constants: values for inputs of the graph, by op name, from which an initial value may be computed.
        """
        used: collections.Counter[str] = collections.Counter()

        def create(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
            name = _numbered(_full_name(kwargs.get("name") or "Variable"), used)
            variable = self.by_name.get(name)
            if variable is None:
                variable = self._create(next_creator, name, graph, constants, kwargs)
                self.by_name[name] = variable
            else:
                _check_same(variable, name, kwargs)
                _collect(variable, kwargs.get("collections"), graph)
            return variable

        with tf.variable_creator_scope(create):
            yield

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
        with tf.init_scope(), tf.compat.v1.name_scope(None), randomness.seeded(f"{self._seed}/{name}"):
            return next_creator(**{**kwargs, "name": name})


def _full_name(name: str) -> str:
    if path := keras_names.path_of_new_variable():
        scope = tf.compat.v1.get_variable_scope().name
        return f"{scope}/{path}" if scope else path
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
