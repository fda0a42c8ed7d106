"""Checks of numbers, Python's and NumPy's."""

from __future__ import annotations

import math
from numbers import Real

from mox_core.errors import UsageError
from mox_core.whole_numbers import is_whole_number


def count(name: str, value: object) -> int:
    """Return a whole number of 1 or more.

    Raises:
        UsageError: if it is not one.
    """
    if not is_whole_number(value, least=1):
        raise UsageError(f"{name} is {value!r}; it must be a whole number, 1 or more.")
    return int(value)


def is_number(value: object) -> bool:
    """Return whether a value is a finite number, not True or False."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
