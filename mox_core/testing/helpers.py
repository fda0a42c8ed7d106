"""Helpers of the contracts: results that checks share, errors as failed checks, seeds, and variables of checkpoints."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

T = TypeVar("T")


def once(contract: type, name: str, make: Callable[[], T]) -> T:
    """Return a value that is made once for all checks of a test class.

    It is not a fixture of the class, which could not use the methods of the author's subclass.

    Args:
        contract: the author's test class.
        name: the name of the value.
        make: the function that makes it.

    Raises:
        AssertionError: if `make` raises one; it is then raised for every check.
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
def attempt(what: str) -> Iterator[None]:
    """Turn an exception of the block into a failed check.

    Args:
        what: the action of the block, with which the message begins.

    Raises:
        AssertionError: in place of any other exception.
    """
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{what} fails: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def seed(number: int) -> Iterator[None]:
    """Set TensorFlow's global seed for the runs of the block, and remove it afterwards."""
    tf.random.set_seed(number)
    try:
        yield
    finally:
        tf.compat.v1.random.set_random_seed(None)


def variables_of(checkpoint: str | None) -> dict[str, np.ndarray[Any, Any]]:
    """Return the values of all variables of a checkpoint by name."""
    reader = tf.train.load_checkpoint(checkpoint)
    return {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}
