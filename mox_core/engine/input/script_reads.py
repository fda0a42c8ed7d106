"""Data sets that are read where no `mox.run` reads them: in the script's own graph by a session, or eagerly.

One function, `read_once`, is called wherever a data set is asked for a sample, and tells the places apart.
"""

from __future__ import annotations

import contextvars
import itertools
import weakref
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field

from mox_core.engine import randomness
from mox_core.engine.input.bad_samples import BadSampleReport
from mox_core.engine.input.input_trace import current_trace, is_tracing
from mox_core.engine.input.order import Order
from mox_core.engine.tensors import no_autograph
from mox_core.engine.tf_internals.eager_context import outside_of_graphs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mox_core.engine.tensors import Dataset, Features

_OF_GRAPH: Final = "mox_reads"
"""The attribute of a graph of the script that holds what is read in it."""

_EAGERLY: Final = (
    "%s is read outside of mox.run, and eagerly: each call of get gives the next sample, so ask for all of its "
    "features in one call. What mox.run trains with is read in input_fn."
)


def read_once(owner: object, read: Callable[[], Features]) -> Features:
    """Return what a data set reads; asked again in one `input_fn` or one graph, the features of the same element.

    Outside of `mox.run`, a graph of the script's own gets tensors that a session reads: each session from the
    beginning, with an OutOfRangeError at the end. Where TensorFlow executes eagerly, each call gives the next element.

    Args:
        owner: the data set.
        read: reads it: called the first time, eagerly each time.

    Raises:
        UsageError: in another graph, as that of `model_fn`.
        OutOfRangeError: eagerly, at the end.
    """
    if _in_graph_of_script():
        return _reads_of_graph().once(owner, read)
    if tf.executing_eagerly() and not is_tracing():
        return _eager_reads(owner).next(read)
    return current_trace().once(owner, read)


def read_source(source: Any) -> Features:
    """Return the features of one element of a source, as tensors.

    Args:
        source: a `SampleSource`, or what has its attribute `end` and its methods `elements`, `dataset` and `specs`.

    Raises:
        UsageError: in another graph, and eagerly outside of `read_once`.
        OutOfRangeError: eagerly, at the end.
    """
    if _in_graph_of_script():
        reads = _reads_of_graph()
        return reads.once(source, lambda: _read_by_session(source, reads.next_order()))
    owner = _eager.get()
    if owner is not None and tf.executing_eagerly():
        return owner.next_of(source)
    trace = current_trace()
    return trace.once(source, lambda: trace.add_placeholders(source, source.specs()))


@define
class _GraphReads:
    """What is read in one graph of the script.

    Attributes:
        seed: of the orders of all that is read.
    """

    seed: int
    _read: list[tuple[object, Features]] = field(factory=list)
    _numbers: Iterator[int] = field(factory=itertools.count)

    def next_order(self) -> Order:
        """Return the order of a further source."""
        return Order(seed=self.seed).of_source(next(self._numbers))

    def once(self, owner: object, read: Callable[[], Features]) -> Features:
        for known, features in self._read:
            if known is owner:
                return features
        self._read.append((owner, read()))
        return self._read[-1][1]


@define
class _EagerReads:
    """A data set that is read eagerly."""

    _elements: Iterator[Features] | None = None

    def next(self, read: Callable[[], Features]) -> Features:
        token = _eager.set(self)
        try:
            return read()
        finally:
            _eager.reset(token)

    def next_of(self, source: Any) -> Features:
        if self._elements is None:
            order = Order(seed=randomness.eager_seed())
            self._elements = iter(_features(source, order))
        features = next(self._elements, None)
        if features is None:
            raise tf.errors.OutOfRangeError(None, None, "the data set is at its end: all of its epochs are read.")
        return features


def _in_graph_of_script() -> bool:
    """Whether operations are made in a graph for a session; the graphs of functions and of `mox.run` are others."""
    return not tf.executing_eagerly() and type(tf.compat.v1.get_default_graph()) is tf.Graph


def _reads_of_graph() -> _GraphReads:
    graph: Any = tf.compat.v1.get_default_graph()
    if not hasattr(graph, _OF_GRAPH):
        setattr(graph, _OF_GRAPH, _GraphReads(randomness.run_seed()))
    reads: _GraphReads = getattr(graph, _OF_GRAPH)
    return reads


def _eager_reads(owner: object) -> _EagerReads:
    reads = _opened.get(id(owner))
    if reads is None:
        tf.get_logger().warning(_EAGERLY, type(owner).__name__)
        reads = _opened[id(owner)] = _EagerReads()
        # Also at exit: a process does not end while an iterator with a Python operation reads ahead.
        weakref.finalize(owner, _opened.pop, id(owner), None)
    return reads


def _read_by_session(source: Any, order: Order) -> Features:
    """Return the next element of a source in the graph, as a one-shot iterator gives it to each session."""
    with outside_of_graphs():
        elements = _features(source, order)
        variant = tf.data.experimental.to_variant(elements)
    with tf.device("CPU:0"):
        # By reference: what a data set knows, a list of files or whole arrays, is not copied into the graph.
        handed_over = tf.py_function(no_autograph(lambda: variant), [], tf.variant)
        handed_over.set_shape([])
        dataset = tf.data.experimental.from_variant(handed_over, elements.element_spec)
        features: Features = tf.compat.v1.data.make_one_shot_iterator(dataset).get_next()
    return features


def _features(source: Any, order: Order) -> Dataset:
    """Return the features of all elements of a source."""
    whole = source.dataset(order=order, start=0, needed=None, report=BadSampleReport())
    return whole.map(no_autograph(lambda _after, features: features))


_eager: contextvars.ContextVar[_EagerReads | None] = contextvars.ContextVar("mox_eager_reads", default=None)
_opened: Final[dict[int, _EagerReads]] = {}
