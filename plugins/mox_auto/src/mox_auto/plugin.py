"""What mox-auto offers: names only, so that listing them imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import ApiOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_api() -> Iterator[ApiOffer]:
    """Offer the module of searches under `mox.auto`."""
    yield ApiOffer(
        name="auto",
        target="mox_auto:auto",
        summary="parameters searched by short trainings, on optuna: ParamSpec, ModelSize, search, run",
    )
