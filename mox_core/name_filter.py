"""Variables chosen by name: the flags for what is restored and what is trained."""

from __future__ import annotations

import re

from attrs import frozen


@frozen
class NameFilter:
    """A filter of variable names, made of an include flag and an exclude flag.

    Attributes:
        include: regular expressions, searched anywhere in a name; empty: every name matches.
        exclude: regular expressions of names that are left out; it takes precedence over include.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is a pattern, so that some names may be left out."""
        return bool(self.include or self.exclude)

    def __call__(self, name: str) -> bool:
        """Return whether the filter keeps the variable of this name."""
        if any(re.search(pattern, name) for pattern in self.exclude):
            return False
        return not self.include or any(re.search(pattern, name) for pattern in self.include)
