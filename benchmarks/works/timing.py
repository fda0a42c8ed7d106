"""Training by mox.run, timed by windows of steps."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import mox_core as mox

if TYPE_CHECKING:
    from collections.abc import Callable


class Windows(mox.Hook):
    """Times windows of steps: no call goes over the end of one."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.ends: list[float] = []
        self._is_running = False

    def next_step(self, step):
        self._is_running = True
        return step + -(step + 1) % self.steps

    def after_run(self, run_context, run_values):
        del run_context, run_values
        if self._is_running:  # it is called for each replica
            self.ends.append(time.perf_counter())
        self._is_running = False

    def seconds_a_step(self) -> float:
        """The median of the windows but the first two, in which functions are compiled."""
        windows = [end - start for start, end in zip(self.ends[1:], self.ends[2:], strict=False)]
        return statistics.median(windows[1:]) / self.steps


def train(
    input_fn: Callable[[str], Any],
    model_fn: Callable[[Any, str], mox.ModelSpec],
    *,
    steps: int,
    windows: int = 7,
    **options: Any,
) -> float:
    """Return the seconds a step of a training; `model_fn` is without hooks."""
    timer = Windows(steps)

    def timed_model_fn(inputs, mode):
        spec = model_fn(inputs, mode)
        return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, hooks=[timer])

    options = {"optimizer_fn": mox.get_optimizer_fn("momentum", learning_rate=0.01, momentum=0.9), **options}
    mox.run(
        input_fn=input_fn,
        model_fn=timed_model_fn,
        run_mode=mox.ModeKeys.TRAIN,
        max_number_of_steps=steps * (windows + 3),
        log_every_n_steps=10**9,
        **options,
    )
    return timer.seconds_a_step()
