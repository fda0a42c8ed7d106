"""What `input_fn` makes of an image and of a label, cut out of its graph: what an exported model needs to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import frozen

from mox_core.engine.tensors import PYTHON_OPS, ancestors
from mox_core.engine.tf_internals import func_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mox_core.engine.input.traced_input import TracedInput
    from mox_core.engine.tensors import Features

_IMAGE: Final = "image"
_LABEL: Final = "label"
_KEEPS_LABEL: Final = frozenset(
    {"Cast", "ConcatV2", "ExpandDims", "Fill", "Identity", "OneHot", "Pack", "Rank", "Reshape", "Shape", "Squeeze"}
)
"""Types of the operations after which a label still stands for the same class."""

_OF_THIS_PROCESS: Final = (
    *("Random", "SampleDistorted", "Multinomial", "Sampler"),  # chance
    *("HashTable", "LookupTable", "ReadFile", "VarHandle", "ReadVariable"),
)
"""Parts of the types of operations that give other results elsewhere, or the next time."""


@frozen
class ToldClasses:
    """What the data sets of `input_fn` tell of the classes.

    Attributes:
        names: their names by label; none where none is told, or several data sets tell different ones.
        exclusive: whether a sample is of one class.
        changed_by: the type of an operation by which `input_fn` makes other numbers of the labels; '' for none.
    """

    names: tuple[str, ...] = ()
    exclusive: bool = True
    changed_by: str = ""


def told_classes(traced: TracedInput) -> ToldClasses:
    """Return what the data sets that `input_fn` reads tell of the classes."""
    told = {
        (tuple(names), source.exclusive_classes)
        for source, _ in traced.sources
        if (names := getattr(source, "class_names", ()))
    }
    if traced.is_dataset or len(told) != 1:
        return ToldClasses()
    ((names, exclusive),) = told
    changes = (_changes_of(features, traced) for _, features in traced.sources)
    return ToldClasses(names, exclusive, next(filter(None, changes), ""))


def image_function(traced: TracedInput, leaf: int) -> Callable[[tf.Tensor], tf.Tensor] | None:
    """Return what makes an input of `model_fn` of a decoded image (uint8, [height, width, 3]), as a concrete function.

    Args:
        traced: `input_fn`.
        leaf: the number of the input, among its tensors.

    Returns:
        None if the input depends on more than the image: on chance, on another feature; or where the data set does not
        say how it makes an image.
    """
    if traced.is_dataset or len(traced.sources) != 1:
        return None
    source, features = traced.sources[0]
    make, image = getattr(source, "make_image", None), features.get(_IMAGE)
    outputs = func_graph.outputs(traced.function.graph)
    if make is None or image is None or leaf >= len(outputs):
        return None
    output = outputs[leaf]
    if _needs_more(traced, output, image) or (source.batch_size is not None and not _is(output, image)):
        return None
    cut = traced.function.prune([image], [output])

    def function(decoded: tf.Tensor) -> tf.Tensor:
        made = make(decoded)
        if source.batch_size is not None:
            return made
        (result,) = cut(made)
        result.set_shape(output.shape)  # pruning forgets what input_fn set itself
        return result

    spec = tf.TensorSpec([None, None, 3], tf.uint8, "image")
    concrete = tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()
    return None if any(map(_is_of_this_process, _op_types(concrete.graph))) else concrete


def _changes_of(features: Features, traced: TracedInput) -> str:
    """Return the type of an operation by which `input_fn` makes another number of a label; '' where there is none."""
    label = features.get(_LABEL)
    if label is None:
        return ""
    used = {op.name for op in ancestors(func_graph.outputs(traced.function.graph))}
    waiting, seen = [label.op], {label.op.name}
    while waiting:
        for output in waiting.pop().outputs:
            for op in output.consumers():
                if op.name in seen or op.name not in used:
                    continue
                if op.type not in _KEEPS_LABEL:
                    return str(op.type)
                seen.add(op.name)
                waiting.append(op)
    return ""


def _needs_more(traced: TracedInput, output: tf.Tensor, image: tf.Tensor) -> bool:
    captured = {inner.op.name for _, inner in func_graph.captures(traced.function.graph)}
    needed = ancestors([output], given=[image])
    if output is not image and image.op.name not in {op.name for op in ancestors([output])}:
        return True  # it is not made of the image at all
    return any(op.type.startswith("Placeholder") and op.name not in captured for op in needed)


def _is(output: tf.Tensor, image: tf.Tensor) -> bool:
    while output is not image and output.op.type == "Identity":
        output = output.op.inputs[0]
    return output is image


def _op_types(graph: Any) -> Iterator[str]:
    graph_def = graph.as_graph_def()
    for nodes in (graph_def.node, *(each.node_def for each in graph_def.library.function)):
        yield from (node.op for node in nodes)


def _is_of_this_process(op_type: str) -> bool:
    return op_type in PYTHON_OPS or any(part in op_type for part in _OF_THIS_PROCESS)
