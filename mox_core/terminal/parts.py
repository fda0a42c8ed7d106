"""What the two ways to show progress have in common."""

from __future__ import annotations

from typing import Final

ROUTINE: Final = "mox_routine"
"""The attribute of a record of the log that the display shows in a better way: the line of each n-th step."""


class Progress:
    """How far a work is. This one shows nothing."""

    def advance(self, more: int) -> None:
        """Say that more units are done."""

    def show(self, done: int, note: str = "") -> None:
        """Say how many units are done, and what else is to be shown."""


def amount(number: float, unit: str) -> str:
    """Return a number of units for people: '1,200 images', '1.2 GB'; '' without a unit."""
    if not unit:
        return ""
    if unit != "bytes":
        return f"{number:,.0f} {unit}"
    for name in ("bytes", "kB", "MB"):
        if number < 1000:  # noqa: PLR2004
            return f"{number:.1f} {name}" if name == "MB" else f"{number:.0f} {name}"
        number /= 1000
    return f"{number:.1f} GB"


def share(done: float, total: float | None, unit: str) -> str:
    """Return how much of a work is done: '5 of 80 images', '1.2 MB of 3.0 GB'; without a total, how much."""
    if total is None:
        return amount(done, unit)
    return f"{amount(done, unit) if unit == 'bytes' else f'{done:,.0f}'} of {amount(total, unit)}"
