"""What commands print: lines and tables, and both as plain text, which depends on no width and has no colours."""

from __future__ import annotations

import textwrap
import unicodedata
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

INDENT: Final = 2


@frozen
class Styled:
    """Text with a style of rich, as 'bold red', that only a terminal shows."""

    text: str
    style: str


Part = str | Styled


def text_of(part: Part) -> str:
    """Return what a part says."""
    return part if isinstance(part, str) else part.text


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for a character of East Asia, none for an accent."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


@frozen
class Line:
    """A line, which is broken on a terminal that is too narrow for it; what follows begins where the line does.

    Attributes:
        parts: what stands in it.
        indent: the spaces in front of it.
    """

    parts: Sequence[Part]
    indent: int = 0


def line(*parts: Part, indent: int = 0) -> Line:
    """Return a line of some parts."""
    return Line(parts, indent)


def aligned(table: Table) -> Iterator[str]:
    """Yield the rows of a table, its columns one below the other."""
    rows = [[text_of(cell) for cell in row] for row in table.rows]
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)][:-1]
    for row in rows:
        cells = [cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=False)]
        yield " " * table.indent + (" " * table.gap).join([*cells, row[-1]])


def with_heading(table: Table) -> Iterator[str]:
    """Yield the lines of a table with what stands above its columns."""
    yield from aligned(evolve(table, rows=[table.heading, *table.rows]))


@frozen
class Table:
    """Rows of cells.

    Attributes:
        rows: the cells of each row.
        styles: the style of each column; none where it is short.
        heading: what stands above the columns; empty for nothing.
        indent: the spaces in front of each row.
        gap: the spaces between two columns.
        plain: the lines of the table where there is no terminal.
        markdown: whether it is one of Markdown on a terminal, too.
    """

    rows: Sequence[Sequence[Part]]
    styles: Sequence[str] = ()
    heading: Sequence[str] = ()
    indent: int = INDENT
    gap: int = 2
    plain: Callable[[Table], Iterable[str]] = field(default=aligned)
    markdown: bool = False


Block = Line | Table


def as_plain(block: Block) -> Iterable[str]:
    """Return the lines of a block as plain text."""
    if isinstance(block, Table):
        return block.plain(block)
    return [" " * block.indent + "".join(map(text_of, block.parts))]


def filled(lines: Iterable[str], *, width: int, hanging: int) -> Iterator[str]:
    """Break lines at a width, between words; what follows is indented."""
    for each in lines:
        yield textwrap.fill(each, width, subsequent_indent=" " * hanging, break_on_hyphens=False)
