"""What several checks of one contract look at, made once for all of them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

T = TypeVar("T")


def once(contract: type, name: str, make: Callable[[], T]) -> T:
    """Returns what was made for a class of tests, and makes it when it is first asked for.

    Not a fixture of the class: those know nothing of the attributes of a subclass's instances.

    Args:
        contract: the class of the author's.
        name: what it is called there.
        make: makes it; what it raises is raised for every check that asks.

    Raises:
        AssertionError: where it could not be made.
    """
    key = f"_once_{name}"
    if key not in vars(contract):
        try:
            setattr(contract, key, (make(), None))
        except AssertionError as error:
            setattr(contract, key, (None, str(error)))
            raise
    made, failure = vars(contract)[key]
    if failure is not None:
        raise AssertionError(failure)
    return made


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Makes whatever the block raises a failed check, whose message begins with what was tried.

    Raises:
        AssertionError: in place of any other error.
    """
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{what} fails: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def seed(number: int) -> Iterator[None]:
    """Seeds the runs of the block as a script does, and leaves no seed behind."""
    tf.random.set_seed(number)
    try:
        yield
    finally:
        tf.compat.v1.random.set_random_seed(None)


def variables_of(checkpoint: str | None) -> dict[str, np.ndarray[Any, Any]]:
    """Returns what a checkpoint holds, as any other program would read it."""
    reader = tf.train.load_checkpoint(checkpoint)
    return {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}
