"""Validators of the arguments of data sets. Each raises a UsageError with the argument, its value and the rule."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mox_core.errors import UsageError
from mox_core.stores.folder import is_remote
from mox_core.whole_numbers import is_whole_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from attrs import Attribute

    Validator = Callable[[Any, Attribute[Any], Any], None]


_HEIGHT_AND_WIDTH = 2


def refuse(instance: object, name: str, value: object, rule: str) -> UsageError:
    """Return the UsageError for an argument `name` of an instance whose value breaks the rule."""
    return UsageError(f"{name} of {type(instance).__name__} is {value!r}; it must be {rule}.")


def check_is_here(name: str, path: str | os.PathLike[str], *, written: bool = False) -> None:
    """Check that a path, which is read or written in place, is not on a store.

    Args:
        name: what the path is, for messages: the name of an argument.
        path: the path.
        written: whether it is written.

    Raises:
        UsageError: if it is, with what copies it.
    """
    if not is_remote(path):
        return
    url = os.fspath(path)
    if written:
        raise UsageError(
            f"{name} is {url!r}, on a store; it must be a folder of this machine. Copy that to the store then: "
            f"mox.file.copy_parallel(folder, {url!r})."
        )
    raise UsageError(
        f"{name} is {url!r}, on a store; it must be on this machine. Copy it here before: "
        f"mox.file.copy_parallel({url!r}, folder)."
    )


def at_least(least: int, *, or_none: bool = False) -> Validator:
    """Return a validator of whole numbers of `least` or more, and of None if `or_none`."""

    def check(instance: object, attribute: Attribute[Any], value: object) -> None:
        if value is None and or_none:
            return
        if not is_whole_number(value, least=least):
            raise refuse(instance, attribute.name, value, f"{'None or ' * or_none}a whole number from {least}")

    return check


def is_bool(instance: object, attribute: Attribute[Any], value: object) -> None:
    """Validate a bool."""
    if not isinstance(value, bool):
        raise refuse(instance, attribute.name, value, "True or False")


def is_function(instance: object, attribute: Attribute[Any], value: object) -> None:
    """Validate a function, or None."""
    if value is not None and not callable(value):
        raise refuse(instance, attribute.name, value, "None or a function")


def one_of(*allowed: str) -> Validator:
    """Return a validator of a string that must be one of some."""

    def check(instance: object, attribute: Attribute[Any], value: object) -> None:
        if value not in allowed:
            raise refuse(instance, attribute.name, value, " or ".join(map(repr, allowed)))

    return check


def is_size(instance: object, attribute: Attribute[Any], value: object) -> None:
    """Validate a size in pixels: the side of a square, (height, width), or None."""
    if value is None:
        return
    sides = value if isinstance(value, (list, tuple)) and len(value) == _HEIGHT_AND_WIDTH else [value]
    if not all(is_whole_number(side, least=1) for side in sides):
        raise refuse(instance, attribute.name, value, "None, the side of a square, or (height, width)")
