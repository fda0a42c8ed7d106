"""What follows if a monitored value does not improve: the rules of Keras's callbacks, without a model.

The numbers of a rule are what a hook remembers. Values are compared as float32, as Keras does.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from attrs import define

from mox_core import UsageError

_RISING: Final = re.compile(r"(?<![a-z])(acc|auc|precision|recall|f1|iou|dice|top)")
_FALLING: Final = re.compile(r"loss|error|entropy|perplexity|(?<![a-z])(mse|mae|rmse)(?![a-z])")


def rises(monitor: str, mode: str, who: str) -> bool:
    """Returns whether higher values of a monitored name are better.

    Args:
        monitor: the name.
        mode: 'max', 'min', or 'auto': the name tells.
        who: whose arguments they are, for messages.

    Raises:
        UsageError: for another mode, or where the name does not tell.
    """
    if mode in {"max", "min"}:
        return mode == "max"
    if mode != "auto":
        raise UsageError(f"mode of {who} is {mode!r}; it must be 'auto', 'min' or 'max'.")
    rising, falling = _RISING.search(monitor.lower()), _FALLING.search(monitor.lower())
    if bool(rising) == bool(falling):
        raise UsageError(
            f"mode of {who} is 'auto', and whether {monitor!r} is to rise or to fall does not show in its name: "
            "pass mode='max' or mode='min'."
        )
    return bool(rising)


@define(kw_only=True)
class Rule:
    """The best value so far, and how long ago it was; the base of rules.

    Attributes:
        rising: whether higher values are better.
        min_delta: by how much more than this a value has to be better.
        patience: for how many evaluations in a row it may be no better.
        evaluations: how many there were.
        best: the best value.
        best_step: the step of the best value.
        wait: evaluations since something better.
        stopped: whether the training was stopped.
    """

    rising: bool
    min_delta: float
    patience: int
    evaluations: int = 0
    best: float = 0.0
    best_step: int = 0
    wait: int = 0
    stopped: bool = False

    def remembered(self) -> dict[str, float]:
        """What a resumed run has to know."""
        return {name: getattr(self, name) for name in ("evaluations", "best", "best_step", "wait", "stopped")}

    def improves(self, value: float, step: int) -> bool:
        """Takes note of a value, and says whether it is the best; the first one is."""
        self.evaluations += 1
        if self.evaluations > 1 and not self.better(value, self.best):
            return False
        self.best, self.best_step = value, step
        return True

    def better(self, value: float, than: float) -> bool:
        """Whether a value is better than another by more than min_delta."""
        if self.rising:
            return bool(np.float32(value - abs(self.min_delta)) > np.float32(than))
        return bool(np.float32(value + abs(self.min_delta)) < np.float32(than))


@define(kw_only=True)
class EarlyStopping(Rule):
    """Stops after `patience` evaluations that are no better: `keras.callbacks.EarlyStopping`.

    Attributes:
        baseline: only what is better than this too ends the waiting; None for no such value.
    """

    baseline: float | None

    def see(self, value: float, step: int) -> bool:
        """Takes note of a value, and says whether it is the best."""
        self.wait += 1
        best = self.improves(value, step)
        if best:
            self.wait = 0 if self.baseline is None or self.better(value, self.baseline) else self.wait
        self.stopped = not best and self.wait >= self.patience
        return best

    def still_stopped(self) -> bool:
        """Whether a run that goes on has nothing to go on for: it stopped, and has no more patience now."""
        return self.stopped and self.wait >= self.patience


@define(kw_only=True)
class Plateaus(Rule):
    """Finds plateaus, which are `patience` evaluations that are no better: `keras.callbacks.ReduceLROnPlateau`.

    Attributes:
        cooldown: how many evaluations after a plateau do not count.
        plateaus_before_stop: stops at this many in a row.
        cooling: how many evaluations are still not to count.
        plateaus: how many there were since something better.
    """

    cooldown: int
    plateaus_before_stop: int
    cooling: int = 0
    plateaus: int = 0

    def remembered(self) -> dict[str, float]:
        """What a resumed run has to know."""
        return {**super().remembered(), "cooling": self.cooling, "plateaus": self.plateaus}

    def see(self, value: float, step: int) -> bool:
        """Takes note of a value, and says whether a plateau ends with it."""
        if self.cooling:
            self.cooling -= 1
            self.wait = 0
        if self.improves(value, step):
            self.wait = self.plateaus = 0
            return False
        if self.cooling:
            return False
        self.wait += 1
        if self.wait < self.patience:
            return False
        self.wait, self.cooling, self.plateaus = 0, self.cooldown, self.plateaus + 1
        self.stopped = self.plateaus >= self.plateaus_before_stop
        return True

    def still_stopped(self) -> bool:
        """Whether a run that goes on has nothing to go on for: it stopped, and may not see more plateaus now."""
        return self.stopped and self.plateaus >= self.plateaus_before_stop
