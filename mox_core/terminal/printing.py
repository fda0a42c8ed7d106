"""Printing of lines and tables: in colours and to its width on a terminal, as plain text for pipes and files."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from mox_core.terminal.pages import as_plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mox_core.terminal.pages import Block


def write(blocks: Iterable[Block]) -> None:
    """Print blocks to stdout."""
    if is_terminal():
        from mox_core.terminal import painting  # noqa: PLC0415  (rich, only where there is a terminal)

        painting.paint(blocks)
    else:
        sys.stdout.writelines(f"{each}\n" for block in blocks for each in as_plain(block))


def is_terminal() -> bool:
    """Return whether stdout is a terminal that can show more than plain text."""
    try:
        return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # None, or closed
        return False
