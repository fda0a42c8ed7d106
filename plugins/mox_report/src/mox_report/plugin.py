"""What mox-report offers: names only, so that listing them imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import CommandOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_commands() -> Iterator[CommandOffer]:
    """Offer the command that shows trainings."""
    yield CommandOffer(
        "report", "mox_report.commands:main", summary="show trainings as one HTML page, which needs no network"
    )
