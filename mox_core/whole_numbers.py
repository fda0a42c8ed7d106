"""The check of whole numbers: Python's and NumPy's, never True or False."""

from __future__ import annotations

from numbers import Integral
from typing import SupportsInt, TypeGuard


def is_whole_number(value: object, *, least: int) -> TypeGuard[SupportsInt]:
    """Return whether a value is a whole number of at least `least`."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
