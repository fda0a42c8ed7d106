"""Validators of the arguments of data sets: each error names the argument, the value and the rule."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, SupportsInt, TypeGuard

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from attrs import Attribute

    Validator = Callable[[Any, Attribute[Any], Any], None]


_HEIGHT_AND_WIDTH = 2


def refuse(instance: object, name: str, value: object, rule: str) -> UsageError:
    """Returns the error of an argument that breaks its rule."""
    return UsageError(f"{name} of {type(instance).__name__} is {value!r}; it must be {rule}.")


def at_least(least: int, *, or_none: bool = False) -> Validator:
    """Returns a validator of whole numbers."""

    def check(instance: object, attribute: Attribute[Any], value: object) -> None:
        if value is None and or_none:
            return
        if not _is_integer(value) or int(value) < least:
            raise refuse(instance, attribute.name, value, f"{'None or ' * or_none}a whole number from {least}")

    return check


def is_bool(instance: object, attribute: Attribute[Any], value: object) -> None:
    """Accepts True and False."""
    if not isinstance(value, bool):
        raise refuse(instance, attribute.name, value, "True or False")


def is_function(instance: object, attribute: Attribute[Any], value: object) -> None:
    """Accepts None and functions."""
    if value is not None and not callable(value):
        raise refuse(instance, attribute.name, value, "None or a function")


def one_of(*allowed: str) -> Validator:
    """Returns a validator of some strings."""

    def check(instance: object, attribute: Attribute[Any], value: object) -> None:
        if value not in allowed:
            raise refuse(instance, attribute.name, value, " or ".join(map(repr, allowed)))

    return check


def is_size(instance: object, attribute: Attribute[Any], value: object) -> None:
    """Accepts None, the side of a square, and (height, width)."""
    if value is None:
        return
    sides = value if isinstance(value, (list, tuple)) and len(value) == _HEIGHT_AND_WIDTH else [value]
    if not all(_is_integer(side) and int(side) >= 1 for side in sides):
        raise refuse(instance, attribute.name, value, "None, the side of a square, or (height, width)")


def _is_integer(value: object) -> TypeGuard[SupportsInt]:
    return isinstance(value, Integral) and not isinstance(value, bool)
