"""An exported model as one concrete function, or as one graph without variables."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.sdk import PYTHON_OPS
from mox_export.tf_internals import variables_to_constants

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mox_core.sdk import ExportedModel


def signature(model: ExportedModel) -> Any:
    """Return the model as a concrete function whose arguments and keys of the result are the model's names.

    Raises:
        UsageError: if the model cannot be exported.
    """
    concrete = tf.function(model.function, autograph=False).get_concrete_function(**model.inputs)
    _check_ops(concrete)
    return concrete


def freeze(model: ExportedModel) -> tf.compat.v1.GraphDef:
    """Return a graph without variables and devices, in which inputs and outputs are nodes with the model's names.

    Raises:
        UsageError: if a name cannot be that of a node, or the model cannot be exported.
    """
    _check_names(model)

    def body(*tensors: tf.Tensor) -> list[tf.Tensor]:
        results = model.function(**dict(zip(model.inputs, tensors, strict=True)))
        return [results[name] for name in model.outputs]

    concrete = tf.function(body, autograph=False).get_concrete_function(*model.inputs.values())
    _check_ops(concrete)
    with quiet():
        frozen = variables_to_constants(concrete)
    with tf.Graph().as_default() as graph:
        inputs = [tf.compat.v1.placeholder(spec.dtype, spec.shape, name) for name, spec in model.inputs.items()]
        scope = _scope(model)
        results = tf.import_graph_def(
            frozen.graph.as_graph_def(),
            input_map={tensor.name: given for tensor, given in zip(frozen.inputs, inputs, strict=True)},
            return_elements=[tensor.name for tensor in frozen.outputs],
            name=scope,
        )
        for name, tensor in zip(model.outputs, results, strict=True):
            tf.identity(tensor, name=name)
    graph_def = graph.as_graph_def()
    replaced = {f"{scope}/{tensor.op.name}" for tensor in frozen.inputs}
    kept = [node for node in graph_def.node if node.name not in replaced]
    del graph_def.node[:]
    graph_def.node.extend(kept)
    clear_devices(graph_def)
    return graph_def


def save(holder: Holder, directory: str, signatures: Mapping[str, Any]) -> None:
    """Write a SavedModel, without custom gradients.

    A custom gradient, such as that of `tf.nn.silu`, knows tensors of the graph of `model_fn`. The model is a copy of
    a part of that graph and has them no more.
    """
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with quiet():  # TensorFlow logs the folder, which is not the final one
        tf.saved_model.save(holder, directory, signatures=signatures, options=options)


def clear_devices(graph_def: tf.compat.v1.GraphDef) -> None:
    """Remove the devices of all ops, which `tf.device` in `model_fn` leaves, so that the graph runs on any machine."""
    for node in _nodes(graph_def):
        node.ClearField("device")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the messages of converters out of the log: temporary folders, and advice to the caller of the converter."""
    loggers = [tf.get_logger(), logging.getLogger("tf2onnx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def no_such_op(runtime: str, ops: Iterable[str]) -> UsageError:
    """Return the error for a model with ops that a format lacks."""
    return UsageError(
        f"{runtime} does not know {', '.join(sorted(set(ops)))}, or not for the types that the model uses. In mode "
        "EXPORT, compute the outputs with other ops and in float32, or choose another format of mox.ExportKeys."
    )


def _check_names(model: ExportedModel) -> None:
    used: dict[str, str] = {}
    for name in [*model.inputs, *model.outputs]:
        if not re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.\-]*", name):
            raise UsageError(
                f"ExportSpec has the name {name!r}; in this format names are names of nodes: they hold letters, digits "
                "and '_', '-', '.', and begin with a letter, a digit or '.'."
            )
        if (first := used.setdefault(name.casefold(), name)) != name or name in model.inputs.keys() & model.outputs:
            raise UsageError(
                f"ExportSpec has the names {first!r} and {name!r}; in this format inputs and outputs are nodes of one "
                "graph, whose names differ in more than upper and lower case: rename one of them."
            )


def _check_ops(function: Any) -> None:
    """Raise UsageError for ops that need this process, also in the bodies of branches and loops."""
    for node in _nodes(function.graph.as_graph_def()):
        if node.op in PYTHON_OPS:
            raise UsageError(
                f"the outputs of ExportSpec call a Python function, in the op {node.name!r}, which is not there where "
                "the model is loaded. In mode EXPORT, use ops of TensorFlow in its place."
            )
        if node.op.startswith("LookupTable"):
            raise UsageError(
                "the outputs of ExportSpec look something up in a table, and a table is not exported. In mode EXPORT, "
                "use tf.gather from a constant, or export outputs from before the table."
            )


def _nodes(graph_def: tf.compat.v1.GraphDef) -> Iterator[Any]:
    return itertools.chain(graph_def.node, *(function.node_def for function in graph_def.library.function))


def _scope(model: ExportedModel) -> str:
    scope = "model"
    while scope in {name.casefold() for name in (*model.inputs, *model.outputs)}:
        scope += "_"
    return scope


class Holder(tf.Module):
    """A module with the variables of a model: TensorFlow saves those that it finds in an object."""

    def __init__(self, variables: tuple[tf.Variable, ...]) -> None:
        super().__init__()
        self.kept = variables
