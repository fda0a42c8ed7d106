"""Values of the log as text."""

from __future__ import annotations

from typing import Any, Final

_LONGEST: Final = 12
"""How many numbers a vector may have that is written out."""


def metric_text(value: Any, form: str = ".3f") -> str:
    """Return a value as the log shows it.

    Args:
        value: a number, or an array: per-class recall, a confusion matrix.
        form: the format of a number; '' for all its digits.

    Returns:
        A number, a vector of up to 12 numbers on one line, or the shape of a larger array: '<10 x 10>'.
    """
    shape = getattr(value, "shape", ())
    if not shape:
        return format(float(value), form)
    if len(shape) == 1 and shape[0] <= _LONGEST:
        return "[" + " ".join(format(float(each), form) for each in value) + "]"
    return "<" + " x ".join(map(str, shape)) + ">"
