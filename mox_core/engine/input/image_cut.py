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

_KEEPS_PLACES: Final = frozenset(
    {"Add", "AddV2", "ClipByValue", "Div", "Maximum", "Minimum", "Mul", "RealDiv", "SelectV2", "Sub"}
)
"""Types of the operations after which a place in a vector of all classes still stands for its class: smoothing, say."""

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


@frozen
class ClassList:
    """The classes that the labels of a data set stand for, as `input_fn` gives them on.

    Attributes:
        names: the names of the classes by label.
        exclusive: whether a sample is of one class.
        numbers: whether a label is a number, not a vector with a place for each class.
    """

    names: tuple[str, ...]
    exclusive: bool = True
    numbers: bool = False

    def agrees_with(self, other: ClassList) -> bool:
        """Return whether each label stands for the same class in both, where both have it."""
        return all(own == others for own, others in zip(self.names, other.names, strict=False))


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
    changes = (
        _follow_label(source, features, traced).changed_by
        for source, features in traced.sources
        if getattr(source, "class_names", ())
    )
    return ToldClasses(names, exclusive, next(filter(None, changes), ""))


def class_lists(traced: TracedInput) -> tuple[ClassList, ...]:
    """Return the classes of each data set whose labels `input_fn` gives on, in the order in which it reads them."""
    return tuple(
        ClassList(
            names=tuple(source.class_names),
            exclusive=source.exclusive_classes,
            numbers=features[_LABEL].shape.rank == (0 if source.batch_size is None else 1),
        )
        for source, features in (() if traced.is_dataset else traced.sources)
        if getattr(source, "class_names", ()) and _follow_label(source, features, traced).given_on
    )


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


@frozen
class _Followed:
    """What `input_fn` does with a label.

    Attributes:
        given_on: whether it returns what still stands for the same class.
        changed_by: the type of an operation by which it makes other numbers of it; '' where there is none.
    """

    given_on: bool = False
    changed_by: str = ""


def _follow_label(source: Any, features: Features, traced: TracedInput) -> _Followed:
    label = features.get(_LABEL)
    if label is None:
        return _Followed()
    of_vectors = [*([None] if source.batch_size is not None else []), len(source.class_names)]
    outputs = func_graph.outputs(traced.function.graph)
    returned, used = {output.op.name for output in outputs}, {op.name for op in ancestors(outputs)}
    waiting, kept, changed_by = [label.op], {label.op.name}, ""
    while waiting:
        for op in (op for output in waiting.pop().outputs for op in output.consumers()):
            if op.name in kept or op.name not in used:
                continue
            if _keeps_classes(op, of_vectors):
                kept.add(op.name)
                waiting.append(op)
            else:
                changed_by = changed_by or str(op.type)
    return _Followed(given_on=not returned.isdisjoint(kept), changed_by=changed_by)


def _keeps_classes(op: tf.Operation, of_vectors: list[int | None]) -> bool:
    """Return whether what an operation makes of a label stands for the same class.

    Args:
        op: the operation.
        of_vectors: the shape of labels that are vectors with a place for each class.
    """
    if op.type in _KEEPS_LABEL:
        return True
    shapes = [each.shape for each in op.outputs]
    are_vectors = all(each.rank == len(of_vectors) and each[-1] == of_vectors[-1] for each in shapes)
    return op.type in _KEEPS_PLACES and are_vectors


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
