"""What mox-lars offers: names only, so that listing them imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import OptimizerWrapperOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_optimizer_wrappers() -> Iterator[OptimizerWrapperOffer]:
    """Offer the wrapper."""
    yield from ()
