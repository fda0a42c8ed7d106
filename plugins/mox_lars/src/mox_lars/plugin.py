"""What mox-lars offers: names only, so that listing them imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import OptimizerWrapperOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable


@hookimpl
def mox_optimizer_wrappers() -> Iterable[OptimizerWrapperOffer]:
    """Yield the wrapper."""
    yield OptimizerWrapperOffer(
        name="lars",
        target="mox_lars.wrapper:lars",
        summary="layer-wise learning rates (You et al. 2017, arXiv 1708.03888); ratio, weight_decay, exclude_patterns",
    )
