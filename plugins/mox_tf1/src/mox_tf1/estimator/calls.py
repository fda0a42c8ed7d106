"""How the functions of an estimator are called: by the names of their arguments."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_PAIR: Final = 2


def arguments_of(function: Callable[..., Any]) -> set[str]:
    """Return the names of the arguments of a function; those that `functools.partial` has given are not among them."""
    return {
        name
        for name, each in inspect.signature(function).parameters.items()
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    }


def call(function: Callable[..., Any], *given: Any, **offered: Any) -> Any:
    """Call a function with those of the arguments offered that it takes."""
    taken = arguments_of(function)
    return function(*given, **{name: value for name, value in offered.items() if name in taken})


def inputs_of(input_fn: Callable[..., Any], mode: str, **offered: Any) -> Any:
    """Call `input_fn`, and return what it returned as an `input_fn` of mox may: without labels that are None."""
    returned = call(input_fn, mode=mode, **offered)
    if isinstance(returned, tf.data.Dataset):
        return returned
    if isinstance(returned, (list, tuple)):
        if len(returned) != _PAIR:
            raise UsageError(
                f"input_fn returned {len(returned)} things; it returns a dataset, features, or (features, labels)."
            )
        features, labels = returned
        return (features,) if labels is None else (features, labels)
    return (returned,)


def features_and_labels(inputs: list[Any]) -> tuple[Any, Any]:
    """Return the inputs of a step as features and labels, which are None where there are none."""
    if len(inputs) > _PAIR:
        raise UsageError(f"an element of input_fn has {len(inputs)} parts; it is features, or (features, labels).")
    return inputs[0], inputs[1] if len(inputs) == _PAIR else None
