"""Elements of a page: all text in them is escaped, whatever it says."""

from __future__ import annotations

import html
from datetime import timezone
from typing import TYPE_CHECKING, Any, Final, NewType

from mox_core.metric_text import metric_text
from mox_report.reading import is_number, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

Markup = NewType("Markup", str)
"""Text that is part of a page as it is."""

NOTHING: Final = Markup("")
UNKNOWN: Final = "–"  # noqa: RUF001  (an en dash, as tables have it)
_EMPTY: Final = frozenset({"img", "link", "meta"})
_MINUTE, _HOUR = 60, 3600


def element(tag: str, /, *content: Markup, **attributes: object) -> Markup:
    """Return an element; the values of its attributes are escaped.

    Args:
        tag: its name: 'p'.
        content: what is in it.
        attributes: by their names; `class_` is 'class', and one that is None is left out.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    opening = "".join([f"<{tag}", *(f' {key}="{text(value)}"' for key, value in given.items()), ">"])
    return Markup(f"{opening[:-1]} />" if tag in _EMPTY else f"{opening}{joined(content)}</{tag}>")


def joined(parts: Iterable[Markup]) -> Markup:
    """Return parts behind each other."""
    return Markup("".join(parts))


def text(value: object) -> Markup:
    """Return a text as part of a page."""
    return Markup(html.escape(printable(value)))


def section(title: str, *content: Markup) -> Markup:
    """Return a section with a heading; nothing where it would be empty."""
    return element("section", element("h2", text(title)), *content) if any(content) else NOTHING


def table(head: Sequence[Markup], rows: Sequence[Sequence[Markup]], caption: str, *, numbers: bool = True) -> Markup:
    """Return a table, whose first column names the rows.

    Args:
        head: the names of its columns; one that is empty names no column.
        rows: cells.
        caption: what it is, for those who do not see it.
        numbers: whether its cells are numbers, to stand below each other.
    """
    top = [element("th" if cell else "td", cell, scope="col" if cell else None) for cell in head]
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows
    ]
    inner = element(
        "table",
        element("caption", text(caption)),
        element("thead", element("tr", *top)),
        element("tbody", *body),
        class_="numbers" if numbers else None,
    )
    # It may be wider than the screen: it is moved alone then, by keys too.
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def value_text(value: Any) -> str:
    """Return a value that was logged."""
    if is_number(value):
        return metric_text(value)
    if isinstance(value, list):
        if value and all(is_number(each) for each in value):
            return "  ".join(metric_text(each) for each in value[:12]) + ("  …" if len(value) > 12 else "")  # noqa: PLR2004
        return f"{len(value)} x {len(value[0])}" if value and isinstance(value[0], list) else UNKNOWN
    return UNKNOWN if value is None else str(value)


def seconds_text(seconds: float) -> str:
    """Return a time for people: '1 h 2 min'."""
    if seconds < 10:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    if round(seconds) < _MINUTE:
        return f"{seconds:.0f} s"
    if round(seconds) < _HOUR:
        return f"{round(seconds) // _MINUTE} min {round(seconds) % _MINUTE} s"
    return f"{round(seconds) // _HOUR} h {round(seconds) % _HOUR // _MINUTE} min"


def date_text(when: datetime) -> str:
    """Return a time for people: '29 November 2026, 14:05 UTC'."""
    utc = when.astimezone(timezone.utc)
    return f"{utc.day} {utc:%B %Y, %H:%M} UTC"
