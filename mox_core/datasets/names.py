"""The one rule for names of classes, which are names of folders, lines of labels.txt and words of messages at once."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from mox_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

RULE: Final = (
    "The name of a class is text in UTF-8 without line breaks and other control characters, and without space around."
)

_CONTROLS = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are no UTF-8, separators of lines and paragraphs


def is_class_name(name: str) -> bool:
    """Return whether a class may have a name."""
    if not name or name != name.strip():
        return False
    return name.isprintable() or not any(unicodedata.category(character) in _CONTROLS for character in name)


def check_class_names(names: Iterable[str], *, what: str, where: str) -> None:
    """Check names of classes where they enter.

    Args:
        names: the names.
        what: what they name, as 'class folder'.
        where: the folder or file that holds them.

    Raises:
        DataError: if one breaks the rule.
    """
    for name in names:
        if not is_class_name(name):
            raise DataError(f"the name of {what} {name!r} in {where!r} cannot stand in a labels.txt; rename it. {RULE}")
