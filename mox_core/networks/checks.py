"""Checks of the options of networks and augmentations."""

from __future__ import annotations

import math
import numbers

from mox_core.errors import UsageError
from mox_core.modes import ModeKeys

_MODES = (ModeKeys.TRAIN, ModeKeys.EVAL, ModeKeys.PREDICT, ModeKeys.EXPORT)


def check_run_mode(run_mode: object) -> None:
    """Check that `run_mode` is a mode.

    Raises:
        UsageError: if it is not.
    """
    if run_mode not in _MODES:
        raise UsageError(f"run_mode is {run_mode!r}, which must be one of {', '.join(map(repr, _MODES))}")


def check_count(name: str, value: object) -> int:
    """Return a whole number of any integer type as an int.

    Raises:
        UsageError: if it is none, or below 1.
    """
    count = value.__index__() if hasattr(value, "__index__") and not isinstance(value, bool) else 0
    if count < 1:
        raise UsageError(f"{name} is {value!r}, which must be a whole number of at least 1")
    return count


def check_unknown(options: dict[str, object], *, owner: str, known: str) -> None:
    """Check that there are no unknown options.

    Raises:
        UsageError: if there are.
    """
    if options:
        raise UsageError(f"unknown option {min(options)!r} for {owner}; known: {known}")


def check_flag(name: str, value: object) -> None:
    """Check that a value is True or False.

    Raises:
        UsageError: if it is not.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}, which must be True or False")


def check_keep_prob(name: str, value: object) -> None:
    """Check that a value is the part of values that dropout keeps, above 0 and up to 1.

    Raises:
        UsageError: if it is not.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 < float(value) <= 1:
        raise UsageError(f"{name} is {value!r}, which must be a number above 0, and at most 1: the part that is kept")


def check_multiplier(name: str, value: object) -> None:
    """Check that a value is a factor of the numbers of filters: a finite number above 0.

    Raises:
        UsageError: if it is not.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 < float(value) < math.inf:
        raise UsageError(f"{name} is {value!r}, which must be a finite number above 0")
