"""What TensorFlow's variables do not tell by a public name: their handles, their parts, and how to rename them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SEED_GENERATOR_STATE: Final = "/seed_generator_state"
"""The end of the name that Keras gives to the state of a seed generator."""


def parts_of(variable: Any) -> tuple[tf.Variable, ...]:
    """Return the parts of a variable that is on several devices; none of one that is not.

    The public `experimental_local_results` asks for the strategy, which the variable does not tell.
    """
    return tuple(variable.values) if isinstance(variable, tf.distribute.DistributedValues) else ()


def local_parts(variable: Any) -> tuple[tf.Variable, ...]:
    """Return the parts of a variable that is on several devices; itself, if it is on one."""
    return parts_of(variable) or (variable,)


def handles_of(variable: Any) -> set[int]:
    """Return the ids of the resources of a variable and its parts: those that a graph captures."""
    return {id(each.handle) for each in local_parts(variable)}


def rename(variable: Any, name: str) -> None:
    """Give a variable another name, by which scopes and the slots of optimizers go, and its parts names like it."""
    parts: tuple[Any, ...] = local_parts(variable)
    for number, part in enumerate(parts):
        full = f"{name}/replica_{number}" if number else name
        part._handle_name = f"{full}:0"  # noqa: SLF001  (see above)


@contextlib.contextmanager
def seen_by_optimizer(variables: Sequence[Any], constraint_of: Callable[[Any], Any]) -> Iterator[None]:
    """Show variables to an optimizer, for the block, as it has to see them.

    That is with chosen constraints, and not as slices of a larger variable: optimizers of TF1 cut the name of such a
    variable off those of its slots, by an operation that variables made outside of a graph do not have.

    Args:
        variables: the variables.
        constraint_of: returns the constraint of a variable, None for none.
    """
    before = [(each, each._constraint, each._save_slice_info) for each in variables]  # noqa: SLF001  (see above)
    try:
        for each in variables:
            each._constraint, each._save_slice_info = constraint_of(each), None  # noqa: SLF001
        yield
    finally:
        for each, constraint, slice_info in before:
            each._constraint, each._save_slice_info = constraint, slice_info  # noqa: SLF001
