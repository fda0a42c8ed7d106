"""What `input_fn` reads while it is traced."""

from __future__ import annotations

import contextlib
import contextvars
import re
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mox_core.engine.tensors import Dataset, Features

_NO_SCOPE: Final = re.compile(r"[^A-Za-z0-9_.\\/>-]")
"""What TensorFlow does not take in the name of an operation; names of features may hold it."""


class InputTrace:
    """What `input_fn` reads while it is traced.

    Attributes:
        graph: the graph of the trace.
        sources: each source with the placeholders of its features.
        datasets: the datasets that it reads.
    """

    def __init__(self, graph: tf.Graph) -> None:
        self.graph = graph
        self.sources: list[tuple[Any, Features]] = []
        self.datasets: list[Dataset] = []
        self._read: list[tuple[object, Features]] = []

    def once(self, owner: object, read: Callable[[], Features]) -> Features:
        """Return what a data set reads; asked again, the features of the same element."""
        for known, features in self._read:
            if known is owner:
                return features
        self._read.append((owner, read()))
        return self._read[-1][1]

    def add_placeholders(self, source: Any, specs: dict[str, tf.TensorSpec]) -> Features:
        """Return placeholders for the features of an element of a source."""
        features = {
            name: tf.compat.v1.placeholder(spec.dtype, spec.shape, name=f"source/{_NO_SCOPE.sub('_', name)}")
            for name, spec in specs.items()
        }
        self.sources.append((source, features))
        return features

    def made_datasets(self) -> list[tf.Tensor]:
        """Return the datasets that it reads and has made itself, as tensors."""
        variants = (getattr(source, "variant", None) for source, _ in self.sources)
        return [each for each in variants if each is not None and tf.is_symbolic_tensor(each)]


@contextlib.contextmanager
def tracing(graph: tf.Graph) -> Iterator[InputTrace]:
    """Collect what the block reads in a graph."""
    trace = InputTrace(graph)
    token = _trace.set(trace)
    try:
        yield trace
    finally:
        _trace.reset(token)


def current_trace() -> InputTrace:
    """Return the trace of the `input_fn` that is being called.

    Raises:
        UsageError: outside `input_fn`.
    """
    trace = _trace.get()
    if trace is None:
        raise UsageError(
            "a data set is read inside input_fn: call dataset.get([...]) in the function that you give to mox.run. "
            "Outside of mox.run, tensors for a session are made in a graph: with tf.Graph().as_default()."
        )
    return trace


def trace_of(graph: tf.Graph) -> InputTrace | None:
    """Return the trace of the `input_fn` that is being called in a graph, None where it is another graph."""
    trace = _trace.get()
    return trace if trace is not None and trace.graph is graph and not tf.executing_eagerly() else None


def is_tracing() -> bool:
    """Whether an `input_fn` is being called."""
    return _trace.get() is not None


_trace: contextvars.ContextVar[InputTrace | None] = contextvars.ContextVar("mox_input_trace", default=None)
