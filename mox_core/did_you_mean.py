"""Suggestions of similar names for the texts of errors."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from mox_core.name_lists import listed

if TYPE_CHECKING:
    from collections.abc import Iterable

_CUTOFF = 0.6  # the default of difflib.get_close_matches
_MARGIN = 0.05  # names whose similarity is this close to the best one are suggested too


def nearest(asked: str, known: Iterable[str], *, at_least: float = _CUTOFF) -> list[str]:
    """Return up to three of `known` that are similar to `asked`, the most similar first; case is ignored.

    Args:
        asked: a name that is not known.
        known: the names that are.
        at_least: the similarity that counts, from 0 to 1.
    """
    matcher = SequenceMatcher()
    matcher.set_seq2(asked.casefold())
    ratios: dict[str, float] = {}
    for name in known:
        matcher.set_seq1(name.casefold())
        ratios[name] = matcher.ratio()
    floor = max(at_least, max(ratios.values(), default=0.0) - _MARGIN)
    near = [name for name, ratio in ratios.items() if ratio >= floor]
    return sorted(near, key=lambda name: (-ratios[name], name))[:3]


def did_you_mean(names: list[str]) -> str:
    """Return the question that suggests `names`; empty if there are none."""
    return f"Did you mean {listed(names, 'or')}?" if names else ""
