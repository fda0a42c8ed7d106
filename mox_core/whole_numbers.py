"""The check of a whole number: Python's and NumPy's integers, and no bool. It does not import NumPy."""

from __future__ import annotations

from numbers import Integral
from typing import SupportsInt, TypeGuard


def is_whole_number(value: object, *, least: int) -> TypeGuard[SupportsInt]:
    """Return whether a value is an int or an integer of NumPy, and `least` or more; False for a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
