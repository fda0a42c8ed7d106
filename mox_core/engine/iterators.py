"""Datasets that `input_fn` reads, by `mox.get_next` or as TF1 does: `dataset.make_one_shot_iterator().get_next()`.

Left to TensorFlow, an iterator that is made in a graph would be made anew for every sample, and give the first one each
time. Here its dataset becomes a source like the data sets of plugins, and `get_next()` gives its placeholders.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field

from mox_core.engine import sources
from mox_core.engine.typed import no_autograph
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mox_core.engine.skipped import SkipReport
    from mox_core.engine.sources import Features, Order
    from mox_core.engine.typed import Dataset

_READ_TWICE: Final = (
    "{} is read twice in input_fn, which is called once and describes one sample. Read it once; "
    "dataset.batch(n) puts several elements into one, and `return dataset` reads all of it."
)


def get_next(dataset: Dataset) -> Any:
    """Reads a dataset in `input_fn`, in place of an iterator.

    Args:
        dataset: a `tf.data.Dataset` of samples, or of batches with `auto_batch=False`.

    Returns:
        The tensors of the next element, in the structure of the dataset's elements.

    Raises:
        UsageError: outside `input_fn`, the second time, and for what is no dataset.
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise UsageError(f"mox.get_next was given {dataset!r}; it reads a tf.data.Dataset.")
    trace = sources.trace_of(tf.compat.v1.get_default_graph())
    if trace is None:
        raise UsageError(
            "mox.get_next gives the tensors of one sample: call it inside input_fn. Elsewhere a dataset is read by "
            "`for element in dataset`."
        )
    variant = tf.data.experimental.to_variant(dataset)
    if any(isinstance(source, DatasetSource) and source.variant is variant for source, _ in trace.sources):
        raise UsageError(_READ_TWICE.format("a dataset"))
    return _read(dataset, trace)


def _read(dataset: Dataset, trace: sources.InputTrace) -> Any:
    """Makes a dataset a source, and returns what stands for the tensors of its next element."""
    source = DatasetSource(dataset.element_spec, tf.data.experimental.to_variant(dataset))
    features = trace.add_placeholders(source, source.named(source.spec))
    return tf.nest.pack_sequence_as(source.spec, [features[name] for name in sorted(features)])


@define(eq=False)
class DatasetSource:
    """A dataset that was made in `input_fn`, as a source: its order is its own, a position counts its elements.

    Attributes:
        spec: what its elements are.
        variant: the dataset as a tensor: of the trace, or an eager one where it was made outside of it.
        traced: the trace; known once it is finished.
    """

    spec: Any
    variant: tf.Tensor
    traced: Any = field(default=None, init=False)

    @property
    def end(self) -> int | None:
        """None where the dataset never ends."""
        number = int(self.dataset().cardinality())
        return None if number == tf.data.INFINITE_CARDINALITY else number

    def elements(self, *, order: Order, start: int, needed: frozenset[str] | None, report: SkipReport) -> Dataset:
        """Returns (next position, features), as `SampleSource.elements` does; the features are called by numbers."""
        del report

        @no_autograph
        def named(element: Any) -> Features:
            return {name: value for name, value in self.named(element).items() if needed is None or name in needed}

        # An element that is a tuple comes as several arguments.
        alone = no_autograph(lambda *element: named(element[0] if len(element) == 1 else element))
        positions = tf.data.Dataset.range(start + order.workers, tf.int64.max, order.workers)
        return tf.data.Dataset.zip((positions, sources.share(self.dataset(), order, start).map(alone)))

    @staticmethod
    def named(element: Any) -> dict[str, Any]:
        """Returns the tensors of an element, or their specs, by their numbers."""
        return {f"{number:04}": tensor for number, tensor in enumerate(tf.nest.flatten(element))}

    def dataset(self) -> Dataset:
        """Returns the dataset itself."""
        variant = self.traced.prune([], self.variant)() if hasattr(self.variant, "graph") else self.variant
        return tf.data.experimental.from_variant(variant, self.spec)


class TracedIterator:
    """What an iterator is in `input_fn`: the tensors of the next element, once."""

    def __init__(self, dataset: Dataset, trace: sources.InputTrace) -> None:
        self._dataset = dataset
        self._trace = trace
        self._read = False

    def get_next(self, name: str | None = None) -> Any:
        """Returns the tensors of an element.

        Raises:
            UsageError: the second time: which element would it be, of a function that is called once for all samples?
        """
        del name
        if self._read:
            raise UsageError(_READ_TWICE.format("an iterator"))
        self._read = True
        return _read(self._dataset, self._trace)

    __next__ = get_next

    def __iter__(self) -> TracedIterator:
        return self


class _OneShotIterators:
    """The method `make_one_shot_iterator`, which datasets of TF2 lack: there only while `input_fn` is traced."""

    def __get__(self, dataset: Dataset | None, kind: type) -> Callable[[], TracedIterator]:
        trace = sources.trace_of(tf.compat.v1.get_default_graph())
        if dataset is None or trace is None:
            raise AttributeError(f"{kind.__name__!r} object has no attribute 'make_one_shot_iterator'")
        return lambda: TracedIterator(dataset, trace)


@contextlib.contextmanager
def iterators_are_sources() -> Iterator[None]:
    """Gives a `TracedIterator` to whoever makes an iterator in the graph of `input_fn`, for as long as a run lasts."""
    of_tf2, of_tf1 = tf.data.Dataset, tf.compat.v1.data.Dataset
    changes = (
        (of_tf2, "__iter__", _dispatch(vars(of_tf2)["__iter__"])),
        (of_tf2, "make_one_shot_iterator", _OneShotIterators()),
        # The method also warns that what it gives may not work; the other one serves the function of this name.
        (of_tf1, "make_one_shot_iterator", _dispatch(vars(of_tf1)["make_one_shot_iterator"])),
        (of_tf1, "_make_one_shot_iterator", _dispatch(vars(of_tf1)["_make_one_shot_iterator"])),
    )
    with contextlib.ExitStack() as stack:
        for owner, name, value in changes:
            if name in vars(owner):
                stack.callback(setattr, owner, name, vars(owner)[name])
            else:
                stack.callback(delattr, owner, name)
            setattr(owner, name, value)
        yield


def _dispatch(original: Callable[..., Any]) -> Callable[..., Any]:
    def make(dataset: Dataset) -> Any:
        trace = sources.trace_of(tf.compat.v1.get_default_graph())
        return original(dataset) if trace is None else TracedIterator(dataset, trace)

    return make
