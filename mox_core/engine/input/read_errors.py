"""Errors in the operations of an input, told in words: what failed, and for which sample where that can be found."""

from __future__ import annotations

import itertools
import traceback
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf

from mox_core.engine.input.bad_samples import BadSampleReport, readable_positions
from mox_core.engine.input.input_elements import open_samples
from mox_core.engine.tf_internals.error_messages import cause_of, has_different_shapes, python_line_of
from mox_core.errors import DataError
from mox_core.quoting import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_core.engine.input.order import Order
    from mox_core.engine.input.traced_input import TracedInput

_SEARCHED: Final = 10_000
"""How many samples are read again in the search for one that fails."""
_LONGEST_VALUE: Final = 200


def read_error(error: tf.errors.OpError, mode: str, sample: str) -> DataError:
    """Return an error of the input in words.

    Args:
        error: what TensorFlow raised.
        mode: the mode of the input.
        sample: which sample it was, see `failing_sample`; '' where that is not known.
    """
    cause = shown(cause_of(error))
    if isinstance(error, tf.errors.OutOfRangeError):
        return DataError(
            f"the input of input_fn in mode {mode} should go on for ever and has ended: a dataset that repeats what "
            "holds no samples, or a filter that lets none through."
        )
    if has_different_shapes(error):
        return DataError(
            f"the samples of input_fn in mode {mode} are not all of one shape ({cause}). "
            "Samples of a batch must agree: resize them (dataset argument image_size, or "
            "mox.get_data_augmentation_fn), or batch them yourself with auto_batch=False. Only sequences of integers "
            "are filled up with zeros: those of rank 1 and unknown length, set_shape([None])."
        )
    where = f" It fails for {sample}." if sample else ""
    if line := python_line_of(error):
        cause += f" ({line})"
    return DataError(f"the input of input_fn cannot be read in mode {mode}: {cause}.{where}")


def failing_sample(traced: TracedInput, order: Order, report: BadSampleReport, start: Sequence[int]) -> str:
    """Return which of the samples that `input_fn` makes, from some positions on, is the first one that fails.

    Returns:
        Its place and what is known of it; '' if none is found, and where `input_fn` returned a dataset: its elements
        are not mox's to read one by one.
    """
    if traced.is_dataset or not traced.sources:
        return ""
    positions = [int(position) for position in start]
    try:
        samples = open_samples(traced, order, report, tuple(positions))
        for elements in itertools.islice(samples, _SEARCHED):
            positions = [int(np.ravel(after)[-1]) for after in elements[0]]
    except tf.errors.OpError as error:
        traceback.clear_frames(error.__traceback__)  # they hold the iterator
        return _described(traced, order, positions)
    return ""


def input_fn_error(traced: TracedInput, mode: str, order: Order, positions: range) -> DataError | None:
    """Return the error by which `input_fn` ends the run at the first of some positions; None if it does not.

    Args:
        traced: `input_fn`, which reads one source.
        mode: the mode of the input.
        order: the share of the worker.
        positions: positions of the worker in their order, of which the last can be read.
    """
    position, ((source, _),) = positions.start, traced.sources
    try:
        for (after,), _ in open_samples(traced, order, BadSampleReport(mode), (position,)):
            position = int(after)
            if position >= positions.stop:
                return None
    except tf.errors.OpError as error:
        traceback.clear_frames(error.__traceback__)  # they hold the iterator
        failing = next(readable_positions(source, order, range(position, positions.stop, order.workers)), position)
        return read_error(error, mode, _described(traced, order, [failing]))
    return None


def _described(traced: TracedInput, order: Order, positions: Sequence[int]) -> str:
    names = []
    for number, ((source, _), position) in enumerate(zip(traced.sources, positions, strict=True)):
        if hasattr(source, "name_at"):
            names.append(repr(source.name_at(position, order.of_source(number))))
            continue
        values = [_value(leaf) for element in source.element_at(position, order) for leaf in tf.nest.flatten(element)]
        known = ", ".join(filter(None, values))
        names.append(f"element {position + order.worker} of the dataset that it reads{known and f' ({known})'}")
    return " with ".join(names)


def _value(leaf: Any) -> str:
    """Return a value as text if it tells an element from others: a scalar, a short string."""
    if not isinstance(leaf, tf.Tensor) or leaf.shape.rank != 0:
        return ""
    value = leaf.numpy()
    text = value.decode(errors="replace") if isinstance(value, bytes) else value.item()
    return repr(text)[:_LONGEST_VALUE]
