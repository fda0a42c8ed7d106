"""Lists of names in the texts of errors and logs, no longer than one reads, and numbers of things."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def listed(names: Sequence[str], conjunction: str) -> str:
    """Return all of some names, quoted and joined, like `'a', 'b' or 'c'`."""
    quoted = [repr(name) for name in names]
    return f" {conjunction} ".join(filter(None, [", ".join(quoted[:-1]), *quoted[-1:]]))


def number_of(count: int, noun: str) -> str:
    """Return a number and what is counted, like `1 image` or `3 images`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def some(names: Sequence[str], most: int = 3) -> str:
    """Return up to `most` of some names, quoted and joined, like `'a', 'b', ...`."""
    return ", ".join(repr(name) for name in names[:most]) + (", ..." if len(names) > most else "")


def some_explained(kinds: Mapping[str, str], most: int = 3) -> str:
    """Return up to `most` of some names, quoted, each with what is said of it, like `'a' (a FIFO), ...`."""
    named = [f"{name!r} ({kind})" for name, kind in list(kinds.items())[:most]]
    return ", ".join(named) + (", ..." if len(kinds) > most else "")


def counted(texts: Iterable[str], most: int = 10) -> str:
    """Return up to `most` of some texts as they are, and the number of the others, like `a, b, and 7 more`."""
    texts = list(texts)
    return ", ".join(texts[:most]) + (f", and {len(texts) - most} more" if len(texts) > most else "")
