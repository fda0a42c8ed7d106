"""Values of the log as text."""

from __future__ import annotations

import math
from typing import Any, Final

_LONGEST: Final = 12
"""How many numbers a vector may have that is written out."""


_SMALLEST, _LARGEST = 0.01, 1e6
"""Numbers between these, and 0, are shown with three decimals, as in the manual; for others those say too little."""


def metric_text(value: Any, *, whole: bool = False) -> str:
    """Return a value as the log shows it.

    Args:
        value: a number, or an array: per-class recall, a confusion matrix.
        whole: whether all digits are shown.

    Returns:
        A number, a vector of up to 12 numbers on one line, or the shape of a larger array: '<10 x 10>'.
    """
    shape = getattr(value, "shape", ())
    text = str if whole else _short
    if not shape:
        return text(float(value))
    if len(shape) == 1 and shape[0] <= _LONGEST:
        return "[" + " ".join(text(float(each)) for each in value) + "]"
    return "<" + " x ".join(map(str, shape)) + ">"


def _short(number: float) -> str:
    if 0 < abs(number) < _SMALLEST:
        return f"{number:.3g}"
    if _LARGEST <= abs(number) < math.inf:
        return f"{number:.3e}"
    return f"{number + 0.0:.3f}"  # -0.0 is 0.0
