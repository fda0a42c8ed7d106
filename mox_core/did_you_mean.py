"""The nearest of some known names to one that is not among them, for the texts of errors."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NEAR = 0.6  # difflib's own cutoff
_AS_NEAR = 0.05  # names this much less near than the nearest one are told too


def nearest(asked: str, known: Iterable[str]) -> list[str]:
    """Return up to three of `known` that `asked` may stand for, the nearest first; upper and lower case are one."""
    matcher = SequenceMatcher()
    matcher.set_seq2(asked.casefold())
    ratios: dict[str, float] = {}
    for name in known:
        matcher.set_seq1(name.casefold())
        ratios[name] = matcher.ratio()
    floor = max(_NEAR, max(ratios.values(), default=0.0) - _AS_NEAR)
    near = [name for name, ratio in ratios.items() if ratio >= floor]
    return sorted(near, key=lambda name: (-ratios[name], name))[:3]


def did_you_mean(names: list[str]) -> str:
    """Return the sentence that proposes `names`, or an empty string where there are none."""
    return f"Did you mean {listed(names, 'or')}?" if names else ""


def listed(names: list[str], conjunction: str) -> str:
    """Return `'a', 'b' or 'c'`."""
    quoted = [repr(name) for name in names]
    return f" {conjunction} ".join(filter(None, [", ".join(quoted[:-1]), *quoted[-1:]]))
