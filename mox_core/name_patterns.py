"""Checks of patterns of variables' names: that they can be read, and match something."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import UsageError
from mox_core.name_lists import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

_LISTED: Final = 8


def check_pattern(pattern: object, whose: str) -> None:
    """Refuse what is no regular expression.

    Args:
        pattern: the pattern.
        whose: what it was given to, for the error.

    Raises:
        UsageError: with what is wrong.
    """
    try:
        re.compile(pattern if isinstance(pattern, str) else "(")
    except re.error as error:
        why = f": {error}" if isinstance(pattern, str) else ""
        raise UsageError(
            f"{whose} holds {pattern!r}, which is no regular expression{why}. Patterns are searched in the names of "
            "variables: 'head/' finds all below a scope of that name, and '.*' stands for anything."
        ) from error


def check_matches(pattern: str, names: Iterable[str], whose: str) -> None:
    """Refuse a pattern that matches none of some names.

    Args:
        pattern: a regular expression.
        names: the names of variables.
        whose: what it was given to, for the error.

    Raises:
        UsageError: with names that are near.
    """
    names = list(names)
    if any(re.search(pattern, name) for name in names):
        return
    parts = [name.split("/") for name in names]
    scopes = dict.fromkeys("/".join(part[:length]) for part in parts for length in range(1, len(part) + 1))
    asked = re.sub(r"[\^$*+?.()\[\]\\|]", "", pattern).strip("/")
    near = nearest(asked, [*scopes, *dict.fromkeys(each for part in parts for each in part)])
    first = list(dict.fromkeys(part[0] for part in parts))
    known = f"Scopes and variables are {counted(first, _LISTED)}."
    raise UsageError(f"{whose} holds {pattern!r}, which matches no variable. {did_you_mean(near) or known}")
