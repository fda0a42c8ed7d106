"""Samples that cannot be read: left out, found by the gaps in the positions, and named once."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

import tensorflow as tf

from mox_core.engine.tensors import READABLE, features_of, no_autograph
from mox_core.errors import DataError, MoxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from mox_core.engine.input.order import Order
    from mox_core.engine.tensors import Dataset, Features


_GOOD_NOW: Final = "and can be now: is memory short, or the disk or network lost at times?"
_OTHERS_MEET: Final = (
    "input_fn reads %d data sets side by side: behind a sample that is left out of one of them, those of it meet other "
    "samples of the others than before. Where they belong together, pass on_bad_image='raise' (on_bad_record='raise')."
)


class _DoubtfulError(DataError):
    """The error for a sample that was not read and can be: there may be another reason, which is told before it."""


class ReadSource(Protocol):
    """A source of samples, as far as the report of its bad samples needs it."""

    @property
    def num_samples(self) -> int:
        """How many samples it has."""

    @property
    def on_bad_sample(self) -> str:
        """'skip' or 'raise'."""

    @property
    def why_bad(self) -> str:
        """What may be wrong with a sample that cannot be read."""

    def sample_at(self, position: tf.Tensor, order: Order) -> Features:
        """Return the features of the sample that a worker reads at a position (int64 scalar)."""

    def name_at(self, position: int, order: Order) -> str:
        """Return the name of the sample that a worker reads at a position."""

    def system_error_at(self, position: int, order: Order) -> str:
        """Return why the system does not let the sample be read; '' if it does. A MoxError ends the run."""


def report_gaps(
    elements: Dataset,
    sources: tuple[Any, ...],
    *,
    order: Order,
    start: tuple[int, ...],
    report: BadSampleReport,
) -> Dataset:
    """Report the gaps in the positions of elements.

    Args:
        elements: elements are (next positions, rest): a tensor of positions, of any shape, for each source.
        sources: the sources. Datasets leave no sample out, and without any source the positions are counted: there are
            no gaps in those.
        order: the share of this worker.
        start: the first position of each source.
        report: the report of the samples that are missing.

    Returns:
        Elements (the last next position of each source, int64 [sources]; rest).
    """

    @no_autograph
    def watch(expected: tf.Tensor, element: tuple[tuple[tf.Tensor, ...], Any]) -> tuple[tf.Tensor, Any]:
        positions, rest = element
        afters = [tf.reshape(after, [-1]) for after in positions]
        reported = []
        for number, (source, after) in enumerate(zip(sources, afters, strict=False)):
            if not hasattr(source, "on_bad_sample"):
                continue
            before = tf.concat([expected[number : number + 1], after[:-1]], 0)
            gaps = functools.partial(report.gaps, source, order.of_source(number), num_sources=len(sources))
            report_op = functools.partial(report.call_op, gaps, [before, after])
            reported.append(tf.cond(tf.reduce_all(after - order.workers == before), lambda: True, report_op))
        with tf.control_dependencies(reported):
            lasts = tf.stack([after[-1] for after in afters])
        return lasts, (lasts, rest)

    return elements.scan(tf.convert_to_tensor(start, tf.int64), watch)


def readable_only(samples: Dataset) -> Dataset:
    """Return those samples, (position, features), whose feature READABLE does not say that they cannot be read."""
    if READABLE not in features_of(samples):
        return samples

    is_readable: Any = no_autograph(lambda _, features: features[READABLE])  # the stubs know no function of two

    @no_autograph
    def without_it(position: tf.Tensor, features: Features) -> tuple[tf.Tensor, Features]:
        return position, {name: value for name, value in features.items() if name != READABLE}

    return samples.filter(is_readable).map(without_it)


def readable_positions(source: ReadSource, order: Order, positions: range) -> Iterator[int]:
    """Yield those of some positions whose samples can be read."""
    with tf.init_scope():
        places = tf.data.Dataset.range(positions.start, positions.stop, positions.step)
        for position, _ in _readable(source, order, places):
            yield int(position)


def _readable(source: ReadSource, order: Order, places: Dataset) -> Dataset:
    """Return (position, features) of those of some positions whose samples can be read."""

    @no_autograph
    def read(position: tf.Tensor) -> tuple[tf.Tensor, Features]:
        # In a graph, as in a run: Python code in the operations of a source gets other types outside of one. All of it
        # is returned: TensorFlow leaves out what only an order of operations depends on.
        return position, source.sample_at(position, order)

    return readable_only(places.map(read)).ignore_errors()


def _reader_of(source: ReadSource, order: Order) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function of a position that returns whether its sample can be read; there may be many that cannot."""

    def is_read(position: tf.Tensor) -> tf.Tensor:
        found = _readable(source, order, tf.data.Dataset.from_tensors(position)).map(
            no_autograph(lambda *_: tf.constant(True))
        )
        none = tf.data.Dataset.from_tensors(tf.constant(False))
        answer: tf.Tensor = found.concatenate(none).take(1).get_single_element()
        return answer

    with tf.init_scope():
        traced = tf.function(is_read, autograph=False)
        return traced.get_concrete_function(tf.TensorSpec([], tf.int64))


class BadSampleReport:
    """The bad samples of an input, each named once in a warning, and the error that ends the run.

    tf.data turns an exception in Python code into a TensorFlow error without its type: `error` keeps the original, to
    be raised in its place.

    Args:
        mode: the mode of the input.
        said: the names that the run has said already, of inputs of other modes, which may read the same samples.

    Attributes:
        names: the names of the bad samples, in the order in which they were met.
        said: those that the run has said, in all modes.
        error: the error that ends the run; None while it may go on.
        why_failed: function of an order and positions, of which the last can be read, that returns the error by which
            `input_fn` ends the run at the first one that it fails for; None if it does not. None where `input_fn` does
            nothing as samples are read.
    """

    def __init__(self, mode: str = "", said: set[str] | None = None) -> None:
        self._mode = mode
        self._lock = threading.Lock()
        self.said: set[str] = set() if said is None else said
        self.names: dict[str, None] = {}
        self._warned: set[str] = set()
        self._readers: dict[tuple[int, Order], tuple[ReadSource, Callable[[tf.Tensor], tf.Tensor]]] = {}
        self._doubtful: dict[str, int] = {}
        self._doubt: _DoubtfulError | None = None
        self.error: MoxError | None = None
        self.why_failed: Callable[[Order, range], MoxError | None] | None = None

    def call_op(self, function: Callable[..., bool], values: list[tf.Tensor]) -> tf.Tensor:
        """Return an operation of the input that calls a method of this report, and fails where that ends the run.

        Not by the error itself, which TensorFlow would write to stderr, with a traceback.
        """

        def call(*arguments: Any) -> tuple[bool, bool, str]:
            try:
                return function(*arguments), True, ""
            except _DoubtfulError as doubt:
                self._doubt = self._doubt or doubt
                return False, False, str(doubt)
            except MoxError as error:
                self.error = self.error or error
                return False, False, str(error)

        result, goes_on, text = tf.numpy_function(call, values, [tf.bool, tf.bool, tf.string])
        goes_on.set_shape([])
        with tf.control_dependencies([tf.debugging.Assert(goes_on, [text])]):
            return tf.identity(result)

    def tail_op(
        self, source: ReadSource, order: Order, first: tf.Tensor, stop: tf.Tensor, samples: Callable[[], Dataset]
    ) -> tf.Tensor:
        """Return an operation that calls `tail`; `samples` returns those of the positions, read anew."""
        del samples
        return self.call_op(functools.partial(self.tail, source, order), [first, stop])

    def tell(self, read_ahead: Callable[[Sequence[int]], None], indices: np.ndarray[Any, Any]) -> bool:
        """Tell the indices that are read next, and return whether to go on; else `end_op` raises the error."""
        try:
            read_ahead(indices.tolist())
        except MoxError as error:
            self.error = self.error or error
        return self.error is None

    def end_op(self, _element: tf.Tensor) -> tf.Tensor:
        """Return an operation that raises the error that ended the input, if one did, and else gives False."""
        return self.call_op(self._nothing_more, [])

    def _nothing_more(self) -> bool:
        self.raise_error()
        return False

    def gaps(
        self,
        source: ReadSource,
        order: Order,
        before: np.ndarray[Any, Any],
        after: np.ndarray[Any, Any],
        *,
        num_sources: int = 1,
    ) -> bool:
        """Report the samples between positions that should each be one step above the one before."""
        self.raise_error()
        if num_sources > 1:
            self.warn_once("several", _OTHERS_MEET % num_sources)
        for expected, next_position in zip(before.tolist(), after.tolist(), strict=True):
            for position in range(expected, next_position - order.workers, order.workers):
                self._add(source, order, position)
        return True

    def tail(self, source: ReadSource, order: Order, first: np.int64, stop: np.int64) -> bool:
        """Report the unreadable samples at the end of the positions [first, stop), of which the last is one."""
        self.raise_error()  # tf.data reads on behind an error, and may find nothing but errors
        positions = range(int(first), int(stop), order.workers)
        self.check_input_fn(source, order, positions)
        last_read = next(readable_positions(source, order, positions[::-1]), int(first) - 1)
        missing = [position for position in positions if position > last_read] or [positions[-1]]
        if len(missing) * order.workers >= source.num_samples:
            self.nothing_read(source, order, missing[0])
        for each in missing:
            self._add(source, order, each)
        return False

    def report_between(self, source: ReadSource, order: Order, before: int, stop: int) -> int:
        """Report the samples of the positions [before, stop) that cannot be read, and return how many there are."""
        positions = range(before, stop, order.workers)
        missing = sorted({*positions} - {*readable_positions(source, order, positions)})
        for each in missing:
            self._add(source, order, each)
        return len(missing)

    def check_input_fn(self, source: ReadSource, order: Order, positions: range) -> None:
        """End the run where a sample is missing not because it is bad, but because `input_fn` fails for it."""
        if self.why_failed is None or not self._can_be_read(source, order, positions[-1]):
            return
        self._fail_if_input_fn_does(order, positions)

    def _fail_if_input_fn_does(self, order: Order, positions: range) -> None:
        with tf.init_scope():
            error = self.why_failed(order, positions) if self.why_failed else None
        if error is not None:
            self.fail(error)

    def warn_once(self, about: str, text: str) -> None:
        """Log the first of several warnings about the same."""
        if about not in self._warned:
            self._warned.add(about)
            tf.get_logger().warning(text)

    def nothing_read(self, source: ReadSource, order: Order, position: int) -> None:
        """End the run: of a whole epoch from a position on, no sample can be read."""
        error = self._system_error(source, position, order)
        where = f" This is the input of mode {self._mode}." if self._mode else ""
        self._fail(
            f"none of the {source.num_samples} samples could be read, from {source.name_at(position, order)!r} "
            f"on{error and f' ({error})'}. Check that the files are there and are what the data set expects.{where}"
        )

    def raise_error(self) -> None:
        """Raise the error that ended the input, if one did."""
        if self.error is not None:
            raise self.error.with_traceback(None)  # not with all that has raised it before

    def raise_doubt(self, error: tf.errors.OpError) -> None:
        """Raise the error for a sample that was not read and can be, if it is what has ended the input."""
        if self._doubt is not None and _GOOD_NOW in error.message:
            raise self._doubt.with_traceback(None)

    def warn_of_doubtful(self, reached: Sequence[int] | None) -> None:
        """Name the samples that were not read and can be, in a run that no error has ended.

        Args:
            reached: the positions that the run has come to; None for all. What was read ahead of them does not matter.
        """
        for name, position in self._doubtful.items():
            if reached is None or position < max(reached):
                tf.get_logger().warning("%r was left out: it could not be read at first, %s", name, _GOOD_NOW)
        self._doubtful.clear()

    def close(self) -> None:
        """Log how many samples were left out."""
        if self.names:
            number, where = len(self.names), f" in mode {self._mode}" if self._mode else ""
            of = "1 bad sample was" if number == 1 else f"{number} bad samples were"
            tf.get_logger().warning("%s left out of this run%s.", of, where)

    def _add(self, source: ReadSource, order: Order, position: int) -> None:
        name = source.name_at(position, order)
        if name in self.names or name in self._doubtful:
            return
        if self._can_be_read(source, order, position):
            self._fail_if_input_fn_does(order, range(position, position + 1))
            self._doubtful[name] = position
            if source.on_bad_sample == "raise":
                raise _DoubtfulError(f"{name!r} could not be read at first, {_GOOD_NOW}")
            return
        error = self._system_error(source, position, order)
        if source.on_bad_sample == "raise":
            self._fail(f"{name!r} cannot be read: {error or f'it is {source.why_bad}'}.")
        with self._lock:
            known = name in self.said
            self.said.add(name)
            self.names[name] = None
        if not known:
            tf.get_logger().warning("%r cannot be read (%s): it is left out.", name, error or source.why_bad)

    def _can_be_read(self, source: ReadSource, order: Order, position: int) -> bool:
        with self._lock:
            key = id(source), order
            if key not in self._readers:
                self._readers[key] = source, _reader_of(source, order)
        with tf.init_scope():
            return bool(self._readers[key][1](tf.constant(position, tf.int64)))

    def _system_error(self, source: ReadSource, position: int, order: Order) -> str:
        try:
            return source.system_error_at(position, order)
        except MoxError as error:  # not of the sample alone
            self.fail(error)

    def fail(self, error: MoxError) -> NoReturn:
        """End the run with an error, the first of several."""
        self.error = self.error or error  # reading ahead goes on behind the first error
        raise self.error.with_traceback(None)

    def _fail(self, message: str) -> NoReturn:
        self.fail(DataError(message))
