"""Which values of the parameters a search tries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mox_auto.specs import ModelSize, ParamSpec, given
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGE: Final = 10_000_000
"""From how many trained numbers on a model is a large one."""

_WIDTH: Final = 10.0
_LOWEST, _HIGHEST = 1e-4, 1.0


def lists_of(spec: ParamSpec | None) -> dict[str, list[float]]:
    """Return the values to try of each parameter that has a list, in the order in which they are searched.

    Raises:
        UsageError: if one is no list of numbers.
    """
    found = dict(given(spec)) if spec is not None else {}
    for name, values in found.items():
        if not isinstance(values, (list, tuple)) or not values or not all(map(is_number, values)):
            raise UsageError(f"{name} of param_list_spec is {values!r}; it must be a list of numbers, or None.")
    return {name: list(found[name]) for name in sorted(found, key=_order)}


def range_of(rate: float | None, first: float | None, last: float | None) -> tuple[float, float]:
    """Return the range of learning rates: a factor of ten to either side of a rate, where it is not given.

    Raises:
        UsageError: if it is none.
    """
    for name, value in (("init_learning_rate", first), ("end_learning_rate", last), ("learning_rate", rate)):
        if value is not None and not (is_number(value) and value > 0):
            raise UsageError(f"{name} is {value!r}; it must be a number above 0.")
    low = first if first is not None else rate / _WIDTH if rate else last / _WIDTH**2 if last else _LOWEST
    high = last if last is not None else rate * _WIDTH if rate else first * _WIDTH**2 if first else _HIGHEST
    if low >= high:
        raise UsageError(f"learning rates are searched from {low:g} to {high:g}; the first must be the lower one.")
    return low, high


def rates_between(low: float, high: float, size: ModelSize) -> list[float]:
    """Return learning rates by equal factors: about ten for a large model, whose trainings are long, else its root."""
    factor = _WIDTH if size is ModelSize.LARGE else math.sqrt(_WIDTH)
    count = max(2, round(math.log(high / low, factor)) + 1)
    return [float(f"{rate:.4g}") for rate in np.geomspace(low, high, count)]


def with_middle_rate(spec: ParamSpec, low: float, high: float) -> ParamSpec:
    """Return parameters with a learning rate to begin with."""
    rate = spec.learning_rate if spec.learning_rate is not None else float(f"{math.sqrt(low * high):.4g}")
    return attrs.evolve(spec, learning_rate=rate)


def is_number(value: object) -> bool:
    """Whether a value is a finite number, not True or False."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)


def _order(name: str) -> int:
    first: Sequence[Any] = ("learning_rate", "momentum", "weight_decay")
    return first.index(name) if name in first else len(first)
