"""TensorFlow types that its stubs leave out, and helpers for specs, tensors, graphs and datasets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

import numpy as np
import tensorflow as tf

from mox_core.engine.tf_internals.eager_context import outside_of_graphs

if TYPE_CHECKING:
    import numpy.typing as npt

Dataset: TypeAlias = "tf.data.Dataset[Any]"
"""A dataset of any elements."""

Features: TypeAlias = dict[str, tf.Tensor]
"""The features of a sample, or of a batch, by name."""

GradsAndVars: TypeAlias = list[tuple[Any, tf.Variable]]
"""Gradients, dense or sparse, with their variables."""

Function = TypeVar("Function", bound=Callable[..., Any])

READABLE: Final = "mox/readable"
"""The name of the feature that says of a sample whether it could be read; a sample without it could."""

PYTHON_OPS: Final = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
"""Types of the operations that call a Python function of this process."""

CANDIDATE_SAMPLERS: Final = frozenset(
    {"FixedUnigramCandidateSampler", "LearnedUnigramCandidateSampler", "LogUniformCandidateSampler",
     "ThreadUnsafeUnigramCandidateSampler", "UniformCandidateSampler"}
)  # fmt: skip
"""Types of the operations that draw classes, of which TensorFlow has no stateless twins."""

RANDOM_OPS: Final = CANDIDATE_SAMPLERS | {
    "Multinomial", "ParameterizedTruncatedNormal", "RandomCrop", "RandomGamma", "RandomPoisson", "RandomPoissonV2",
    "RandomShuffle", "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "SampleDistortedBoundingBox",
    "SampleDistortedBoundingBoxV2", "TruncatedNormal",
}  # fmt: skip
"""Types of the operations that draw random numbers from a state in their kernel."""


LARGE: Final = 2**20
"""From how many bytes on a constant is worth more than `tf.constant`, which holds two copies of an array."""
_ALIGNMENT: Final = 64


def no_autograph(function: Function) -> Function:
    """Keep AutoGraph away from a function of tf.data: graph code needs none, and it warns where it cannot parse."""
    return cast("Function", tf.autograph.experimental.do_not_convert(function))


def captured_constant(values: Any, dtype: tf.DType) -> tf.Tensor:
    """Return a constant that functions of tf.data capture by reference, however often they are traced.

    Args:
        values: an array or a list. An array is copied, once.
        dtype: the dtype of the constant.
    """
    with outside_of_graphs(), tf.device("CPU:0"):
        if isinstance(values, np.ndarray) and values.nbytes >= LARGE and _is_plain(values, dtype):
            return tf.experimental.dlpack.from_dlpack(_aligned(values).__dlpack__())
        return tf.constant(values, dtype)


def _is_plain(values: npt.NDArray[Any], dtype: tf.DType) -> bool:
    """Whether an array holds numbers of a dtype in the way of this machine."""
    return values.dtype.kind in "iufc" and values.dtype.isnative and tf.as_dtype(values.dtype) == dtype


def _aligned(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a copy of an array that lies where TensorFlow's own tensors may lie."""
    memory = np.empty(values.nbytes + _ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % _ALIGNMENT
    copy = memory[begin : begin + values.nbytes].view(values.dtype).reshape(values.shape)
    np.copyto(copy, values)
    return copy


def features_of(dataset: Dataset) -> Any:
    """Return the specs of the last component of a dataset's elements, behind the position."""
    return cast("Any", dataset.element_spec)[-1]


def zeros_of_spec(spec: tf.Tensor | tf.TensorSpec) -> tf.Tensor:
    """Return zeros of a spec's dtype and shape; unknown dimensions are 0."""
    return tf.zeros([] if spec.shape.rank is None else [size or 0 for size in spec.shape], spec.dtype)


def map_values(function: Callable[[tf.Tensor], tf.Tensor], value: Any) -> Any:
    """Apply a function to a tensor, or to the values of IndexedSlices."""
    if isinstance(value, tf.IndexedSlices):
        return tf.IndexedSlices(function(value.values), value.indices, value.dense_shape)
    return function(value)


def ancestors(
    of: Iterable[tf.Tensor | tf.Operation], *, given: Iterable[tf.Tensor | tf.Operation] = (), ordered: bool = True
) -> list[tf.Operation]:
    """Return the operations that tensors and operations are computed by.

    Args:
        of: tensors and operations of one graph.
        given: tensors and operations whose values are there already: what only they depend on is left out.
        ordered: whether control dependencies count too.
    """
    given = list(given)
    names = {each.name for each in given if not isinstance(each, tf.Operation)}
    given_ops = {getattr(each, "op", each).name for each in given}

    def makers(each: Any) -> list[tf.Operation]:
        if isinstance(each, tf.Operation):
            return [] if each.name in given_ops else [each]
        return [] if each.name in names else [each.op]

    waiting = [op for each in of for op in makers(each)]
    found: dict[str, tf.Operation] = {}
    while waiting:
        op = waiting.pop()
        if op.name not in found:
            found[op.name] = op
            before = (*op.inputs, *(op.control_inputs if ordered else ()))
            waiting += [maker for each in before for maker in makers(each)]
    return list(found.values())


def op_types(graph_def: tf.compat.v1.GraphDef) -> set[str]:
    """Return the types of all operations of a graph and of its functions."""
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    return {node.op for node in nodes}


def functions_called(
    nodes: Iterable[Any], library: Mapping[str, Iterable[Any]], *, but: Collection[str] = ()
) -> list[str]:
    """Return the names of the functions that nodes of a graph call, at any depth.

    Args:
        nodes: node definitions.
        library: those of each function, by its name.
        but: types of nodes whose functions do not count.
    """
    waiting = list(nodes)
    found: dict[str, None] = {}
    while waiting:
        node = waiting.pop()
        for value in node.attr.values() if node.op not in but else ():
            for name in (value.func.name, *(each.name for each in value.list.func)):
                if name in library and name not in found:
                    found[name] = None
                    waiting += library[name]
    return list(found)


def dataset_op_types(variant: tf.Tensor) -> set[str]:
    """Return the types of all operations of a dataset, in any of its stages."""
    ignore_state = tf.data.experimental.ExternalStatePolicy.IGNORE.value
    text = tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=ignore_state)
    return op_types(tf.compat.v1.GraphDef.FromString(text.numpy()))
