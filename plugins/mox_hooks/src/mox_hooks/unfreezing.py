"""A hook that trains what the flags have frozen, part by part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from mox_core import AggregativeSessionRunHook, UsageError
from mox_core.name_patterns import check_pattern
from mox_core.quoting import shown
from mox_core.sdk import UNFREEZING
from mox_core.whole_numbers import is_whole_number


class GradualUnfreezingHook(AggregativeSessionRunHook):
    """Train variables that the flags have frozen from given steps on (Howard, Ruder 2018, arXiv 1801.06146).

    `--trainable_include_patterns` or `--trainable_exclude_patterns` say what is trained from the beginning, and this
    hook what joins it. Until its step a variable is left alone: neither gradient nor weight decay moves it, its slots
    begin when it joins, and it counts in no norm by which gradients are clipped. It is the same as to stop there, to
    change the flags, and to go on. Batch normalization of frozen layers goes on with its moving averages for the whole
    run, as Keras's guide to transfer learning advises: of it, only scale and offset join.

    `model_fn` returns it in TRAIN; in the other modes it does nothing. A resumed run goes on with the schedule, which
    follows the global step.

    Args:
        steps: regular expressions, searched in the names of variables, with the global step from which these are
            trained, 1 or more. Of several that match, the earliest counts.
        prefix: what a line of the log begins with.

    Raises:
        UsageError: if a pattern or a step is not allowed. A pattern that matches no frozen variable is refused when the
            training is built.
    """

    def __init__(self, steps: Mapping[str, int], prefix: str = "[GradualUnfreezing]") -> None:
        super().__init__()
        who = type(self).__name__
        if not isinstance(steps, Mapping) or not steps:
            raise UsageError(f"steps of {who} is {steps!r}; it must map patterns of names to global steps.")
        for pattern, step in steps.items():
            check_pattern(pattern, f"steps of {who}")
            if not is_whole_number(step, least=1):
                raise UsageError(f"steps of {who} has {step!r} for {pattern!r}; it must be a whole number, 1 or more.")
            tf.compat.v1.add_to_collection(UNFREEZING, (pattern, int(step)))
        self._steps = {pattern: int(step) for pattern, step in steps.items()}
        self._prefix = prefix
        self._names: list[str] = []
        self._first_step = 0

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Look up what can be trained, and with which step the run begins."""
        del coord
        key = tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES
        self._names = [each.name.partition(":")[0] for each in session.graph.get_collection(key)]
        self._first_step = int(session.run(tf.compat.v1.train.get_global_step(session.graph)))

    def next_step(self, step: int) -> int | None:
        """Return the next step in which something joins."""
        coming = [each - self._first_step for each in self._steps.values()]
        return min((each for each in coming if each >= step), default=None)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Log what has joined."""
        del run_values
        for pattern in [each for each, step in self._steps.items() if step == run_context.global_step]:
            count = sum(bool(re.search(pattern, name)) for name in set(self._names))
            at = f"step: {run_context.global_step}"
            tf.get_logger().info("%s %s %s is trained too: %d variables", self._prefix, at, shown(pattern), count)

    def support_aggregation(self) -> bool:
        """Return True: one says it for all replicas."""
        return True

    def support_sync_workers(self) -> bool:
        """Return True: workers do it at the same step."""
        return True

    def run_inter_mode(self) -> bool:
        """Return False: it has to do with training only."""
        return False
