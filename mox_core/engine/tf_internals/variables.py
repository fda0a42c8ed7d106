"""What TensorFlow's variables do not tell by a public name: their handles, their parts, and how to rename them."""

from __future__ import annotations

from typing import Any, Final

import tensorflow as tf

SEED_GENERATOR_STATE: Final = "/seed_generator_state"
"""The end of the name that Keras gives to the state of a seed generator."""


def parts_of(variable: Any) -> tuple[tf.Variable, ...]:
    """Return the parts of a variable that is on several devices; none of one that is not.

    The public `experimental_local_results` asks for the strategy, which the variable does not tell.
    """
    return tuple(variable.values) if isinstance(variable, tf.distribute.DistributedValues) else ()


def handles_of(variable: Any) -> set[int]:
    """Return the ids of the resources of a variable and its parts: those that a graph captures."""
    return {id(each.handle) for each in parts_of(variable) or (variable,)}


def rename(variable: Any, name: str) -> None:
    """Give a variable another name, by which scopes and the slots of optimizers go, and its parts names like it."""
    for number, part in enumerate(parts_of(variable) or (variable,)):
        full = f"{name}/replica_{number}" if number else name
        part._handle_name = f"{full}:0"  # noqa: SLF001  (see above)
