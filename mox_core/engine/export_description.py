"""What is known of a model that is exported: the names of its classes, and how images become its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import frozen

from mox_core.errors import UsageError
from mox_core.serving.description import (
    AS_THEY_ARE,
    IMAGE_SIZE,
    PROBABILITIES,
    SIGMOID,
    SOFTMAX,
    Classes,
    Description,
    ImageInput,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mox_core.engine.input.image_cut import ToldClasses
    from mox_core.engine.input.pipeline import InputPipeline
    from mox_core.engine.model.model_graph import ModelGraph

_SHAPES_ONLY: Final = ("Identity", "Reshape", "Squeeze", "Cast", "StopGradient")
_CHANNELS: Final = (1, 3)


@frozen
class Described:
    """What is known of a model.

    Attributes:
        description: what it says of itself.
        preprocess: the function from a decoded image to its input, None where that is not known.
    """

    description: Description
    preprocess: Callable[..., Any] | None


def describe(
    graph: ModelGraph,
    inputs: Mapping[str, tf.Tensor],
    outputs: Mapping[str, tf.Tensor],
    pipeline: InputPipeline,
    told: ToldClasses,
    class_names: Sequence[str] | None,
) -> Described:
    """Return what is known of a model.

    Args:
        graph: of mode EXPORT.
        inputs: the inputs of the exported model.
        outputs: its outputs.
        pipeline: the input of EVAL, if the run has one.
        told: what the data sets tell of the classes that the model has learned.
        class_names: those of the ExportSpec.

    Raises:
        UsageError: if no output has a value for each of the class_names.
    """
    image, preprocess = _image_of(graph, inputs, pipeline)
    return Described(Description(image=image, classes=_classes_of(outputs, told, class_names)), preprocess)


def _classes_of(
    outputs: Mapping[str, tf.Tensor], told: ToldClasses, class_names: Sequence[str] | None
) -> Classes | None:
    names = tuple(class_names if class_names is not None else told.names)
    rows = {name: each for name, each in outputs.items() if each.shape.rank == 2 and each.dtype.is_floating}  # noqa: PLR2004
    fitting = {name: each for name, each in rows.items() if names and each.shape[-1] == len(names)}
    widths = ", ".join(f"{name}: {each.shape[-1]}" for name, each in rows.items()) or "none of shape [batch, classes]"
    if class_names is not None and not fitting:
        raise UsageError(
            f"class_names of ExportSpec has {len(names)} names, and no output of the model has as many values for a "
            f"sample ({widths})."
        )
    if class_names is None and names and rows and not fitting:
        tf.get_logger().warning(
            "The data set has %d classes, and the outputs of ExportSpec are of other widths (%s): the exported model "
            "goes without their names. Give it the right ones: mox.ExportSpec(..., class_names=[...]).",
            len(names),
            widths,
        )
    if class_names is None and fitting and told.changed_by:
        tf.get_logger().warning(
            "input_fn makes other numbers of the labels of the data set (%s): the exported model goes without the "
            "names of its classes. Give it the right ones: mox.ExportSpec(..., class_names=[...]).",
            told.changed_by,
        )
        return None
    if not fitting:
        return None
    made_by = {name: _made_by(each) for name, each in fitting.items()}
    output = next((name for name, op in made_by.items() if op == "Softmax"), next(iter(fitting)))
    exclusive = told.exclusive if len(told.names) == len(names) else None
    return Classes(output=output, names=names, scores=_scores_of(made_by[output], exclusive=exclusive))


def _made_by(tensor: tf.Tensor) -> str:
    """Return the type of the operation that computes a tensor, before what changes its form alone."""
    while tensor.op.type in _SHAPES_ONLY:
        tensor = tensor.op.inputs[0]
    return str(tensor.op.type)


def _scores_of(op_type: str, *, exclusive: bool | None) -> str:
    if op_type in ("Softmax", "Sigmoid"):
        return PROBABILITIES
    if exclusive is None:
        return AS_THEY_ARE
    return SOFTMAX if exclusive else SIGMOID


def _image_of(
    graph: ModelGraph, inputs: Mapping[str, tf.Tensor], pipeline: InputPipeline
) -> tuple[ImageInput | None, Callable[..., Any] | None]:
    if len(inputs) != 1:
        return None, None
    ((name, tensor),) = inputs.items()
    numbers = tensor.dtype.is_floating or tensor.dtype in (tf.uint8, tf.int32)
    if tensor.shape.rank != 4 or tensor.shape[-1] not in _CHANNELS or not numbers:  # noqa: PLR2004
        return None, None
    leaf = next((place for place, each in enumerate(graph.inputs[2:]) if each is tensor), None)
    function = None if leaf is None else pipeline.image_function(leaf)
    if function is not None:
        (made,) = function.outputs
        if made.dtype != tensor.dtype or not made.shape.is_compatible_with(tensor.shape[1:]):
            function = None
    height, width = tensor.shape[1:3]
    built_for = set(tensor.graph.get_collection(IMAGE_SIZE)) if height is None or width is None else {(height, width)}
    size = built_for.pop() if len(built_for) == 1 else None
    return ImageInput(name=name, size=size, mode=None if function is None else pipeline.mode), function
