"""Iterators that are made in `input_fn`, replaced while a run lasts: their dataset becomes a source of samples."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.input.dataset_source import READ_TWICE, read_dataset
from mox_core.engine.input.input_trace import InputTrace, trace_of
from mox_core.engine.tf_patches.replaced import replaced
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mox_core.engine.tensors import Dataset


class TracedIterator:
    """An iterator in `input_fn`: it returns the tensors of the next element, once."""

    def __init__(self, dataset: Dataset, trace: InputTrace) -> None:
        self._dataset = dataset
        self._trace = trace
        self._read = False

    def get_next(self, name: str | None = None) -> Any:
        """Return the tensors of an element.

        Raises:
            UsageError: if it is called again: `input_fn` is called once, and describes one sample.
        """
        del name
        if self._read:
            raise UsageError(READ_TWICE.format("an iterator"))
        self._read = True
        return read_dataset(self._dataset, self._trace)

    @property
    def initializer(self) -> tf.Operation:
        """What initializes one that `make_initializable_iterator` has made: nothing, as the run starts to read."""
        return tf.no_op()

    __next__ = get_next

    def __iter__(self) -> TracedIterator:
        return self


class _MakesIterators:
    """A method that makes iterators, which datasets of TF2 lack; it exists only in the graph of `input_fn`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, dataset: Dataset | None, kind: type) -> Callable[..., TracedIterator]:
        trace = trace_of(tf.compat.v1.get_default_graph())
        if dataset is None or trace is None:
            raise AttributeError(f"{kind.__name__!r} object has no attribute {self._name!r}")
        return lambda shared_name=None: TracedIterator(dataset, trace)  # noqa: ARG005  (of the initializable ones)


@contextlib.contextmanager
def one_shot_iterators() -> Iterator[None]:
    """Make iterators in the graph of `input_fn` a `TracedIterator` for the block; elsewhere they are as ever."""
    of_tf2, of_tf1 = tf.data.Dataset, tf.compat.v1.data.Dataset
    makers = ("make_one_shot_iterator", "make_initializable_iterator")
    with replaced(
        (of_tf2, "__iter__", _dispatch(vars(of_tf2)["__iter__"])),
        *((of_tf2, name, _MakesIterators(name)) for name in makers),
        # The method also warns that its result may not work; the function of tf.compat.v1.data calls the other.
        *((of_tf1, name, _dispatch(vars(of_tf1)[name])) for maker in makers for name in (maker, f"_{maker}")),
    ):
        yield


def _dispatch(original: Callable[..., Any]) -> Callable[..., Any]:
    def make(dataset: Dataset, *arguments: Any, **options: Any) -> Any:
        trace = trace_of(tf.compat.v1.get_default_graph())
        return original(dataset, *arguments, **options) if trace is None else TracedIterator(dataset, trace)

    return make
