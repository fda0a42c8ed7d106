"""Lines and tables on a terminal, by rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.segment import SegmentLines
from rich.table import Table as Grid
from rich.text import Text

from mox_core.terminal.pages import Styled, Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from mox_core.terminal.pages import Block, Part


def paint(blocks: Iterable[Block]) -> None:
    """Print blocks to the terminal that stdout is: to its width, and in colours unless NO_COLOR is set."""
    console = Console(highlight=False, markup=False, emoji=False)
    for block in blocks:
        console.print(_drawn(block, console), crop=False)


def _drawn(block: Block, console: Console) -> RenderableType:
    if isinstance(block, Table):
        drawn: RenderableType = _markdown(block, console) if block.markdown else _grid(block)
    else:
        drawn = Text.assemble(*map(_text, block.parts), overflow="fold")
        if not drawn:
            return ""
    return Padding(drawn, (0, 0, 0, block.indent), expand=False)


def _grid(table: Table) -> RenderableType:
    return _filled(Grid(box=None, show_header=bool(table.heading), padding=(0, table.gap, 0, 0), pad_edge=False), table)


def _markdown(table: Table, console: Console) -> RenderableType:
    grid = _filled(Grid(box=box.MARKDOWN, header_style="bold", border_style="dim"), table)
    return SegmentLines(console.render_lines(grid)[1:-1], new_lines=True)  # without its edges, which are blank


def _filled(grid: Grid, table: Table) -> RenderableType:
    columns = max(map(len, table.rows), default=0)
    styles, headings = [*table.styles, *[""] * columns], [*table.heading, *[""] * columns]
    for number in range(columns):  # the first holds names, which are to be read whole
        grid.add_column(headings[number], style=styles[number], overflow="fold", no_wrap=not number)
    for row in table.rows:
        grid.add_row(*map(_text, row))
    return grid


def _text(part: Part) -> Text:
    return Text(part.text, part.style) if isinstance(part, Styled) else Text(part)
