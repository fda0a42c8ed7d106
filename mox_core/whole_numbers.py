"""The check of a whole number: Python's and NumPy's integers, and no bool. It does not import NumPy."""

from __future__ import annotations

import argparse
from numbers import Integral
from typing import SupportsInt, TypeGuard


def is_whole_number(value: object, *, least: int) -> TypeGuard[SupportsInt]:
    """Return whether a value is an int or an integer of NumPy, and `least` or more; False for a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def at_least_one(text: str) -> int:
    """Return a whole number of a command line, 1 or more: a `type` of `argparse`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)
