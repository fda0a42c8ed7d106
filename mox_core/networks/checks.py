"""Checks of the options of networks and augmentations."""

from __future__ import annotations

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
