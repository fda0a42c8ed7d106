"""Numbers that users give, checked; NumPy's are numbers too."""

from __future__ import annotations

import math
from numbers import Real

from mox_core.errors import UsageError
from mox_core.whole_numbers import is_whole_number


def count(name: str, value: object) -> int:
    """Return a whole number of 1 or more.

    Raises:
        UsageError: if it is none.
    """
    if not is_whole_number(value, least=1):
        raise UsageError(f"{name} is {value!r}; it must be a whole number, 1 or more.")
    return int(value)


def is_number(value: object) -> bool:
    """Whether a value is a finite number, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
