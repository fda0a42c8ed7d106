"""Data that cannot be meant so: whole arrays, or batches, in place of single samples, and sets of unequal length.

Such a run would train, and on something else than is meant. What is certain is refused; what only looks like it, a
warning names before the first step.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf

from mox_core.engine.input.structure import named_leaves
from mox_core.engine.tensors import ancestors
from mox_core.engine.tf_internals import datasets, func_graph
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from mox_core.engine.input.traced_input import TracedInput
    from mox_core.engine.tensors import Dataset


_BATCHES_OF_SOURCE: Final = (
    "a data set of input_fn gives batches of its own (batch_size=%d) in mode %s, and batch_size=%d of mox.run makes "
    "batches of those once more. Give mox.run auto_batch=False, or leave batch_size out of the data set."
)

_UNEQUAL: Final = (
    "input_fn reads data sets of %s samples side by side in mode %s: one sample of each, as far as the shortest goes. "
    "What the others have beyond %d is not read."
)


def check_samples(traced: TracedInput, batch_size: int | None, mode: str) -> None:
    """Look at whether `input_fn` gives single samples, of which a batch has its place, where mox makes batches.

    Args:
        traced: `input_fn`.
        batch_size: samples in a batch; None where mox makes none.
        mode: the mode.

    Raises:
        UsageError: if it certainly gives batches, or whole arrays, or a batch is larger than the memory.
    """
    if batch_size is None:
        return
    _check_memory(traced, batch_size)
    if traced.returned is not None:
        _check_not_batched(traced.returned, batch_size, mode)
    elif not traced.sources:
        _check_not_whole(traced, batch_size, mode)
    for source, _ in traced.sources:
        if (own := getattr(source, "batch_size", None)) is not None:
            tf.get_logger().warning(_BATCHES_OF_SOURCE, own, mode, batch_size)


def warn_of_unequal(traced: TracedInput, mode: str) -> None:
    """Warn of data sets of unequal length side by side: of the longer ones some samples are not read."""
    ends = [getattr(source, "end", None) for source, _ in traced.sources if not getattr(source, "batch_size", None)]
    known = [end for end in ends if end is not None]
    if len({*known}) > 1:
        tf.get_logger().warning(_UNEQUAL, " and ".join(map(str, known)), mode, min(known))


def _check_memory(traced: TracedInput, batch_size: int) -> None:
    leaves = [leaf for leaf in tf.nest.flatten(traced.inputs) if isinstance(leaf, tf.TensorSpec)]
    sample = sum((leaf.shape.num_elements() or 0) * leaf.dtype.size for leaf in leaves)
    memory = _memory_of_machine()
    if memory is not None and sample * batch_size > memory:
        raise UsageError(
            f"batch_size is {batch_size}, and a sample of input_fn takes {sample} bytes: one batch would take "
            f"{sample * batch_size / 1e9:,.1f} GB, and this machine has {memory / 1e9:,.1f} GB of memory."
        )


def _memory_of_machine() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # a system that does not tell
        return None


def _check_not_batched(dataset: Dataset, batch_size: int, mode: str) -> None:
    batched = datasets.batched(dataset)
    if batched is None:
        return
    leaves = tf.nest.flatten(dataset.element_spec)
    sizes = {leaf.shape[0] if leaf.shape.rank else 0 for leaf in leaves}
    if batched.mapped and not sizes <= {None, batched.size}:
        return  # the function has made something else of the batches
    text = (
        f"input_fn returns a dataset of batches in mode {mode}, made by {batched.method}({batched.size or '...'}), and "
        f"batch_size={batch_size} makes batches of those once more. Leave {batched.method} out of input_fn, or leave "
        "batch_size out of mox.run (or add auto_batch=False). If several elements are meant to be one sample, write "
        "`return mox.get_next(dataset)`."
    )
    several = len(leaves) > 1 and None in sizes
    if not batched.mapped and (batched.method != "batch" or batched.size == batch_size or several):
        raise UsageError(text)
    tf.get_logger().warning(text)


def _check_not_whole(traced: TracedInput, batch_size: int, mode: str) -> None:
    leaves = [pair for number, each in enumerate(traced.inputs) for pair in named_leaves(each, f"inputs[{number}]")]
    shapes = {name: leaf.shape for name, leaf in leaves if isinstance(leaf, tf.TensorSpec) and leaf.shape.rank}
    lengths = [shape[0] for shape in shapes.values() if shape[0] is not None and shape[0] > 1]
    alike = max((lengths.count(length), length) for length in lengths) if lengths else (0, 0)
    alone = len(leaves) == 1 and bool(lengths) and next(iter(shapes.values())).rank > 1
    if (alike[0] < 2 and not alone) or not _is_constant(traced):  # noqa: PLR2004  (two arrays have the same length)
        return
    listed = ", ".join(f"{name} of shape {tuple(shape)}" for name, shape in shapes.items())
    text = (
        f"input_fn returns the same arrays for each sample in mode {mode} ({listed}): what it returns is one sample, "
        f"and batch_size={batch_size} would stack these whole arrays. For their rows as samples, return "
        "mox.ArrayDataset(x, y).get(), or tf.data.Dataset.from_tensor_slices((x, y)), with .repeat() in TRAIN; for "
        "batches of your own, leave batch_size out of mox.run. If it is one sample, return "
        "tf.data.Dataset.from_tensors((x, y)).repeat()."
    )
    if alike[0] == len(leaves) > 1:
        raise UsageError(text)
    tf.get_logger().warning(text)


def _is_constant(traced: TracedInput) -> bool:
    """Whether all samples are the same, and hold data rather than a filling such as `tf.zeros`."""
    outputs = func_graph.outputs(traced.function.graph)
    made_by = ancestors(outputs)
    if any(op.op_def.is_stateful or op.name == traced.position.op.name for op in made_by):
        return False
    if traced.returns_arrays:
        return True
    values: list[Any] = [value.numpy() for value in traced.function.prune([], outputs)()]
    return any(value.size and not np.all(value == value.flat[0]) for value in values)
