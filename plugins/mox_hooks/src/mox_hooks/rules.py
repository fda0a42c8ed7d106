"""The rules of Keras's `EarlyStopping` and `ReduceLROnPlateau`, without a model.

A hook saves the numbers of its rule with the model. Values are compared as float32, as in Keras.
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
    """Return whether higher values of a monitored name are better.

    Args:
        monitor: the name.
        mode: 'max', 'min', or 'auto' for what the name implies.
        who: whose arguments they are, for messages.

    Raises:
        UsageError: if it is another mode, or the name implies neither.
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
        min_delta: a value counts as better if it is by more than this.
        patience: evaluations in a row that may be no better.
        evaluations: number of evaluations so far.
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
        """Return the numbers that a resumed run restores."""
        return {name: getattr(self, name) for name in ("evaluations", "best", "best_step", "wait", "stopped")}

    def improves(self, value: float, step: int) -> bool:
        """Count an evaluation, and return whether its value is the best so far; the first is."""
        self.evaluations += 1
        if self.evaluations > 1 and not self.better(value, self.best):
            return False
        self.best, self.best_step = value, step
        return True

    def better(self, value: float, than: float) -> bool:
        """Return whether a value is better than another by more than min_delta."""
        if self.rising:
            return bool(np.float32(value - abs(self.min_delta)) > np.float32(than))
        return bool(np.float32(value + abs(self.min_delta)) < np.float32(than))


@define(kw_only=True)
class EarlyStopping(Rule):
    """Stop after `patience` evaluations that are no better: `keras.callbacks.EarlyStopping`.

    Attributes:
        baseline: only values better than this too end the waiting; None for no such value.
    """

    baseline: float | None

    def see(self, value: float, step: int) -> bool:
        """Count an evaluation, and return whether its value is the best so far."""
        self.wait += 1
        best = self.improves(value, step)
        if best:
            self.wait = 0 if self.baseline is None or self.better(value, self.baseline) else self.wait
        self.stopped = not best and self.wait >= self.patience
        return best

    def still_stopped(self) -> bool:
        """Return whether a resumed run stops again: it was stopped, and its patience is not larger now."""
        return self.stopped and self.wait >= self.patience


@define(kw_only=True)
class Plateaus(Rule):
    """Find plateaus, which are `patience` evaluations that are no better: `keras.callbacks.ReduceLROnPlateau`.

    Attributes:
        cooldown: evaluations after a plateau that do not count.
        plateaus_before_stop: plateaus in a row at which the training stops.
        cooling: evaluations left that do not count.
        plateaus: number of plateaus since the best value.
    """

    cooldown: int
    plateaus_before_stop: int
    cooling: int = 0
    plateaus: int = 0

    def remembered(self) -> dict[str, float]:
        """Return the numbers that a resumed run restores."""
        return {**super().remembered(), "cooling": self.cooling, "plateaus": self.plateaus}

    def see(self, value: float, step: int) -> bool:
        """Count an evaluation, and return whether a plateau ends with it."""
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
        """Return whether a resumed run stops again: it was stopped, and not more plateaus are allowed now."""
        return self.stopped and self.plateaus >= self.plateaus_before_stop
