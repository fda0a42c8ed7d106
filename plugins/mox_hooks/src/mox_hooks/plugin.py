"""What mox-hooks offers: names only, so that listing them imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import ApiOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_api() -> Iterator[ApiOffer]:
    """Offer the hooks under `mox.`."""
    yield ApiOffer(
        name="EarlyStoppingHook",
        target="mox_hooks.stopping:EarlyStoppingHook",
        summary="ends the training when validation no longer gets better",
    )
    yield ApiOffer(
        name="FeedSessionRunHook",
        target="mox_hooks.feed:FeedSessionRunHook",
        summary="feeds placeholders of model_fn, each step",
    )
    yield ApiOffer(
        name="GradualUnfreezingHook",
        target="mox_hooks.unfreezing:GradualUnfreezingHook",
        summary="trains what the flags have frozen from given steps on",
    )
    yield ApiOffer(
        name="LogEvaluationMetricHook",
        target="mox_hooks.evaluation:LogEvaluationMetricHook",
        summary="logs means over validation data while training",
    )
    yield ApiOffer(
        name="PlateauLREarlyStoppingHook",
        target="mox_hooks.stopping:PlateauLREarlyStoppingHook",
        summary="lowers the learning rate on plateaus of validation, and ends the training after several",
    )
    yield ApiOffer(
        name="WorstSamplesHook",
        target="mox_hooks.samples:WorstSamplesHook",
        summary="keeps the worst samples of a validation and its confusion matrix, for mox report",
    )
