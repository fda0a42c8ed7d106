"""Names chosen by patterns: which variables are restored, which are trained."""

from __future__ import annotations

import re

from attrs import frozen


@frozen
class NameFilter:
    """Which variables are meant, by two flags.

    Attributes:
        include: regular expressions searched in a name; none means all names.
        exclude: the same for names that are left out; it wins.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __call__(self, name: str) -> bool:
        """Whether the variable of this name is meant."""
        if any(re.search(pattern, name) for pattern in self.exclude):
            return False
        return not self.include or any(re.search(pattern, name) for pattern in self.include)
