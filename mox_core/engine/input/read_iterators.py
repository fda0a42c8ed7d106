"""Python iterators that were read before: they go on where they stand, and not where a run does.

`tf.data.Dataset.from_generator` asks its function for the elements each time it is read. A function that returns the
same iterator again (`lambda: iterator`) gives what is left of it: behind the place at which a resumed run goes on, and
other samples in each evaluation.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_core.engine.input.bad_samples import BadSampleReport

_READ_BEFORE: Final = (
    "input_fn in mode {mode} reads a Python iterator ({kind}) that was read before: the function given to "
    "tf.data.Dataset.from_generator returns the same one each time, and it goes on where it stands, {place}. Give "
    "from_generator a function that makes a new one: from_generator(samples, ...) where samples() is written with "
    "yield, or lambda: itertools.cycle(numbers)."
)


@frozen
class _Reader:
    """An input that is open.

    Attributes:
        mode: its mode.
        report: where it keeps the error that ends the run.
        resumed: whether it began behind its beginning.
    """

    mode: str
    report: BadSampleReport
    resumed: bool


# TensorFlow asks for elements in threads of its own, which know no context.
_readers: list[_Reader] = []


class _Known:
    """The iterators that were given out, for as long as somebody else has them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._weak: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._others: list[Any] = []

    def add(self, iterator: Any) -> bool:
        """Add an iterator, and return whether it was there already."""
        with self._lock:
            if self._weak.get(id(iterator)) is iterator or any(each is iterator for each in self._others):
                return True
            try:
                self._weak[id(iterator)] = iterator
            except TypeError:  # most of Python's own, itertools.cycle among them, have no weak references
                self._others = [*_held_elsewhere(self._others), iterator]
            return False


def _held_elsewhere(objects: list[Any]) -> list[Any]:
    """Return those objects of a list that others refer to as well."""
    (alone,) = _reference_counts([object()])
    counts = _reference_counts(objects)
    return [each for each, count in zip(objects, counts, strict=True) if count > alone]


def _reference_counts(objects: list[Any]) -> list[int]:
    return [sys.getrefcount(each) for each in objects]


_known: Final = _Known()


@contextlib.contextmanager
def reading(mode: str, report: BadSampleReport, *, resumed: bool) -> Iterator[None]:
    """Watch the iterators that an input is given in the block."""
    reader = _Reader(mode, report, resumed)
    _readers.append(reader)
    try:
        yield
    finally:
        _readers.remove(reader)


def check_is_new(iterator: Any) -> None:
    """Refuse an iterator that was read before where a run is resumed, and warn of it elsewhere.

    Args:
        iterator: what an input is about to read.

    Raises:
        UsageError: for a run that is resumed.
    """
    if not _was_read(iterator) or not _readers:
        return
    reader = _readers[-1]
    place = "not at the place of the run that goes on" if reader.resumed else "not at its beginning"
    text = _READ_BEFORE.format(mode=reader.mode, kind=type(iterator).__name__, place=place)
    if reader.resumed:
        reader.report.fail(UsageError(text))
    reader.report.warn_once("iterator", text)


def _was_read(iterator: Any) -> bool:
    if inspect.isgenerator(iterator):
        return inspect.getgeneratorstate(iterator) != inspect.GEN_CREATED
    return _known.add(iterator)
