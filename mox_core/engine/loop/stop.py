"""Why a loop stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_core.engine.hooks.session import Coordinator
    from mox_core.engine.loop.signals import ReceivedSignal
    from mox_core.engine.optimizer.gradients import Loss


@frozen(kw_only=True)
class StopRule:
    """What stops a loop beside the end of its input.

    Attributes:
        signal: whether the process was asked to end.
        coordinator: whether a hook has asked to stop.
        max_steps: how many steps at most, None for no limit.
    """

    signal: ReceivedSignal
    coordinator: Coordinator
    max_steps: int | None

    @property
    def interrupted(self) -> bool:
        """Whether the process was asked to end: the run is not over, and goes on from its checkpoint."""
        return self.signal.name is not None

    def reason(self, done: int) -> str | None:
        """Return what stops the loop after so many steps: a signal, a hook, 'max_number_of_steps'; None for nothing."""
        if reason := self.signal.name or self.coordinator.stopped_by:
            return reason
        return "max_number_of_steps" if self.max_steps is not None and done >= self.max_steps else None


def not_finite(losses: Sequence[Loss], values: Sequence[Any]) -> str:
    """Return which losses are not finite, as text; '' where all are."""
    named = zip(losses, values, strict=True)
    return " and ".join(f"{loss.name} is {float(value)}" for loss, value in named if not np.isfinite(value))
