"""How large a network is: parameters, multiply-adds and memory, of its graph as a run builds it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf  # noqa: TID253  (imported only where networks are measured)
from attrs import define, frozen

from mox_core.catalog import get_model_fn
from mox_core.engine.model.tracing import trace_model
from mox_core.engine.tf_internals import func_graph
from mox_core.engine.tf_patches.run_scope import run_scope
from mox_core.engine.variables.run_state import RunState
from mox_core.modes import ModeKeys
from mox_core.specs import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_CALLS: Final = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_ALIASES: Final = frozenset({"Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient"})
"""Operations whose results are their first inputs, in the same memory."""
_OF_SHAPES: Final = frozenset({"Shape", "ShapeN", "Size", "Rank"})
"""Operations that need no value of their inputs."""
_CONSTANTS: Final = frozenset({"Const", "Placeholder", "ReadVariableOp", "Shape"})
_MANY: Final = 40
"""Blocks beyond which those whose names begin alike are put together."""


@define
class Block:
    """A part of a network: what stands under one name.

    Attributes:
        name: the name.
        output_shape: the shape of its last result, with the batch; None where it cannot be known.
        parameters: how many it has.
        multiply_adds: of one image.
    """

    name: str
    output_shape: list[int | None] | None = None
    parameters: int = 0
    multiply_adds: int = 0


@frozen
class Memory:
    """What a network takes while it is trained, in bytes; what libraries take for themselves comes to it.

    Attributes:
        weights: all variables.
        gradients: of what is trained.
        slot: one slot of an optimizer: momentum has one, Adam two.
        activations: an estimate: the results of operations that the gradients are computed from, of one batch.
    """

    weights: int
    gradients: int
    slot: int
    activations: int


@frozen
class NetworkSize:
    """How large a network is.

    Attributes:
        trainable: number of trainable parameters.
        others: number of other parameters: moving averages, say.
        multiply_adds: of one image, in convolutions and products of matrices.
        blocks: its parts, in the order of the computation.
        not_counted: the types of operations that are run an unknown number of times, and are not counted.
    """

    trainable: int
    others: int
    multiply_adds: int
    blocks: list[Block]
    not_counted: list[str]


def traced(
    name: str,
    mode: str,
    *,
    num_classes: int,
    image_size: int,
    batch_size: int = 1,
    channels: int = 3,
    see: Callable[[tf.Tensor], None] = lambda _: None,
) -> tuple[Any, RunState]:
    """Build a network as in a run; return its graph, and the state with its variables.

    Args:
        name: the name of the network in `mox.get_model_fn`.
        mode: the mode.
        num_classes: number of classes.
        image_size: height and width of the images in pixels.
        batch_size: how many images there are.
        channels: those of the images.
        see: is called in the graph with the logits.
    """

    def model_fn(inputs: list[Any], mode: str) -> ModelSpec:
        logits, _ = get_model_fn(name, run_mode=mode, num_classes=num_classes)(inputs[0])
        see(logits)
        return ModelSpec(loss=tf.reduce_sum(logits), output_info={"logits": logits})

    with run_scope():
        state = RunState(seed=0, num_positions=1)
        images = tf.TensorSpec([batch_size, image_size, image_size, channels], tf.float32)
        graph = trace_model(model_fn, mode, state, [images]).graph
        return graph, state


def count(name: str, *, num_classes: int, image_size: int) -> tuple[int, int]:
    """Return the numbers of trainable and of non-trainable parameters of a network.

    Args:
        name: the name of the network in `mox.get_model_fn`.
        num_classes: number of classes.
        image_size: height and width of the images in pixels, on which the size of a dense layer may depend.
    """
    _, state = traced(name, ModeKeys.PREDICT, num_classes=num_classes, image_size=image_size)
    variables = state.store.by_name.values()
    trainable = sum(variable.shape.num_elements() for variable in variables if variable.trainable)
    return trainable, sum(variable.shape.num_elements() for variable in variables) - trainable


def measure(name: str, *, num_classes: int, image_size: int) -> NetworkSize:
    """Return the size of a network; for its arguments see `count`."""
    graph, state = traced(name, ModeKeys.PREDICT, num_classes=num_classes, image_size=image_size)
    counted, variables = _Counted(graph), list(state.store.by_name.values())
    trainable = [each for each in variables if each.trainable]
    total = sum(each.shape.num_elements() for each in variables)
    own = sum(each.shape.num_elements() for each in trainable)
    blocks = _blocks(graph, variables, counted.of_operations)
    return NetworkSize(own, total - own, sum(counted.of_operations.values()), blocks, sorted(counted.unknown))


def memory(name: str, *, num_classes: int, image_size: int, batch_size: int) -> Memory:
    """Return what a network takes where it is trained with batches of `batch_size`; for the others see `count`."""
    kept: list[int] = []

    def see(logits: tf.Tensor) -> None:
        graph: Any = tf.compat.v1.get_default_graph()
        total = tf.reduce_sum(logits)
        before = {op.name for op in graph.get_operations()}
        tf.gradients(total, tf.compat.v1.trainable_variables())
        after = [op for op in graph.get_operations() if op.name not in before and op.type not in _OF_SHAPES]
        kept.append(_bytes(tensor for op in after for tensor in op.inputs if tensor.op.name in before))

    built = {"num_classes": num_classes, "image_size": image_size, "batch_size": batch_size}
    _, state = traced(name, ModeKeys.TRAIN, **built, see=see)
    variables = state.store.by_name.values()
    sizes = [(each.shape.num_elements() * each.dtype.size, each.trainable) for each in variables]
    trained = sum(size for size, trainable in sizes if trainable)
    return Memory(sum(size for size, _ in sizes), trained, trained, kept[0])


class _Counted:
    """The multiply-adds of a graph, for each operation that has any.

    Attributes:
        of_operations: how many, by the name of the operation; those of a function by that of its call.
        unknown: the types of operations inside of which there are some, how many times is not known.
    """

    def __init__(self, graph: Any) -> None:
        self.unknown: set[str] = set()
        self._functions = func_graph.graphs_of_functions(graph)
        counts = {op.name: self._of(op) for op in graph.get_operations()}
        self.of_operations = {name: number for name, number in counts.items() if number}

    def _of(self, op: Any) -> int:
        rule = _RULES.get(op.type)
        if rule is not None:
            return rule(op)
        bodies = [self._functions.get(value.name) for value in _functions_of(op)]
        inside = [sum(map(self._of, body.get_operations())) for body in bodies if body is not None]
        if op.type in _CALLS or not any(inside):
            return sum(inside)
        if op.type in {"If", "StatelessIf"}:
            return max(inside)
        self.unknown.add(op.type)
        return 0


def _functions_of(op: Any) -> Iterator[Any]:
    for name in ("f", "then_branch", "else_branch", "body", "branches"):
        try:
            value = op.get_attr(name)
        except ValueError:
            continue
        yield from value if isinstance(value, (list, tuple)) else [value]


def _elements(tensor: tf.Tensor) -> int:
    """Return the number of elements of a tensor; sizes that are not known count as one."""
    return 0 if tensor.shape.rank is None else math.prod(size or 1 for size in tensor.shape)


def _sizes(tensor: tf.Tensor) -> list[int]:
    return [size or 1 for size in tensor.shape]


def _convolution(op: Any) -> int:
    return _elements(op.outputs[0]) * math.prod(_sizes(op.inputs[1])[:-1])


def _depthwise(op: Any) -> int:
    return _elements(op.outputs[0]) * math.prod(_sizes(op.inputs[1])[:2])


def _transposed(op: Any) -> int:
    return _elements(op.inputs[2]) * math.prod(_sizes(op.inputs[1])[:-1])


def _product(op: Any) -> int:
    transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
    return _elements(op.outputs[0]) * int(op.inputs[0].shape[-2 if transposed else -1] or 1)


def _einsum(op: Any) -> int:
    letters, _, _ = op.get_attr("equation").decode().partition("->")
    sizes: dict[str, int] = {}
    for part, tensor in zip(letters.split(","), op.inputs, strict=True):
        if "..." in part:
            return _elements(op.outputs[0])
        sizes |= {letter: size or 1 for letter, size in zip(part, tensor.shape, strict=True)}
    return math.prod(sizes.values()) if len(op.inputs) > 1 else 0


_RULES: Final[dict[str, Callable[[Any], int]]] = {
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    "Conv": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "Conv2DBackpropInput": _transposed,
    "Conv3DBackpropInputV2": _transposed,
    "MatMul": _product,
    "BatchMatMul": _product,
    "BatchMatMulV2": _product,
    "BatchMatMulV3": _product,
    "Einsum": _einsum,
}


def _bytes(tensors: Iterable[Any]) -> int:
    """Return the size of tensors, each once, without weights, constants and what shares the memory of another."""
    sizes: dict[str, int] = {}
    for each in tensors:
        tensor = each
        while tensor.op.type in _ALIASES:
            tensor = tensor.op.inputs[0]
        if tensor.op.type not in _CONSTANTS and tensor.dtype not in (tf.resource, tf.variant, tf.string):
            sizes[tensor.name] = _elements(tensor) * tensor.dtype.size
    return sum(sizes.values())


def _blocks(graph: Any, variables: Sequence[tf.Variable], counts: dict[str, int]) -> list[Block]:
    """Return the parts of a network that have parameters or multiply-adds, by the first names that tell them apart."""
    readers = _readers(graph, variables)
    parameters = {name: sum(each.shape.num_elements() for each in read) for name, read in readers.items()}
    layers = {name: read[0].name.partition(":")[0] for name, read in readers.items()}
    names = dict.fromkeys([*parameters, *counts])
    length = _common_scopes(list(names))
    scopes = {op.name: _part(op.name, length) for op in graph.get_operations()}
    called = {scopes[name]: _called(scopes[name], layer) for name, layer in layers.items()}
    parts = {name: called.get(scope, scope) for name, scope in scopes.items()}
    wanted = {parts[name] for name in names}
    if len(wanted) > _MANY:
        parts = {name: _beginning(part) for name, part in parts.items()}
        wanted = {parts[name] for name in names}
    blocks: dict[str, Block] = {}
    for op in graph.get_operations():
        part = parts[op.name]
        if part not in wanted or _scopes(op.name)[:length] != _scopes(next(iter(names)))[:length]:
            continue
        block = blocks.setdefault(part, Block(part))
        block.parameters += parameters.get(op.name, 0)
        block.multiply_adds += counts.get(op.name, 0)
        if op.type != "ReadVariableOp" and op.outputs and _is_of_images(op.outputs[0]):
            block.output_shape = op.outputs[0].shape.as_list()
    return list(blocks.values())


def _called(scope: str, layer: str) -> str:
    """Return the scope as the variables in it have it: TensorFlow numbers the scopes of Keras's layers once more."""
    plain, names = re.sub(r"_\d+$", "", scope), layer.split("/")
    return plain if scope not in names and plain in names else scope


def _is_of_images(tensor: tf.Tensor) -> bool:
    return tensor.dtype.is_floating and (tensor.shape.rank or 0) > 1 and tensor.shape[0] == 1


def _readers(graph: Any, variables: Sequence[tf.Variable]) -> dict[str, list[tf.Variable]]:
    """Return the variables by the name of the operation that reads them first; a count in training is read by none."""
    inner = {id(outer): placeholder for outer, placeholder in func_graph.captures(graph)}
    found: dict[str, list[tf.Variable]] = {}
    for variable in variables:
        placeholder = inner.get(id(variable.handle))
        if placeholder is not None and (users := placeholder.consumers()):
            found.setdefault(users[0].name, []).append(variable)
    return found


def _scopes(name: str) -> list[str]:
    return name.split("/")[:-1]


def _common_scopes(names: Sequence[str]) -> int:
    """Return how many scopes all names begin with."""
    columns = list(zip(*map(_scopes, names), strict=False))
    return next((number for number, column in enumerate(columns) if len(set(column)) > 1), len(columns))


def _part(name: str, length: int) -> str:
    scopes = _scopes(name)
    return scopes[length] if len(scopes) > length else name.rsplit("/", maxsplit=1)[-1]


def _beginning(part: str) -> str:
    """Return what the names of the layers of a block begin with, as Keras names them: 'block2a_dwconv' is 'block2a'."""
    found = re.match(r".*?\d+[a-z]?(?=_|$)", part)
    return found[0] if found else part
