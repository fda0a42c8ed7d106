"""Which steps something is done at."""

from __future__ import annotations

from attrs import frozen


@frozen
class EverySteps:
    """Every n-th step.

    Attributes:
        every: n.
        offset: what is added to a step before it is divided: 0 for the steps 0, n, 2n; 1 for n - 1, 2n - 1, 3n - 1.
    """

    every: int
    offset: int = 0

    def next_step(self, step: int) -> int:
        """Return the first such step from `step` on."""
        return step + -(step + self.offset) % self.every

    def is_due(self, step: int) -> bool:
        """Whether a step is one of them."""
        return self.next_step(step) == step
