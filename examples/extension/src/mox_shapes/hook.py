"""`mox.CsvHook`: values of the training in a file that any table program reads."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core import AggregativeSessionRunHook
from mox_core.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


class CsvHook(AggregativeSessionRunHook):
    """Writes values of the training to a CSV file, a line every so many steps.

    Args:
        path: of the file; one that exists is replaced.
        values: name to scalar tensor: the columns behind `step`.
        every_n_steps: steps between two lines. Many steps run in one call between them.

    Raises:
        UsageError: if every_n_steps is not a whole number of 1 or more.
    """

    def __init__(
        self, path: str | os.PathLike[str], values: Mapping[str, tf.Tensor], *, every_n_steps: int = 10
    ) -> None:
        super().__init__()
        if not isinstance(every_n_steps, int) or every_n_steps < 1:
            raise UsageError(f"every_n_steps of CsvHook is {every_n_steps!r}; it must be a whole number, 1 or more.")
        self._path = Path(path)
        self._values = dict(values)
        self._every_n_steps = every_n_steps
        self._first_step = 0  # until the session tells

    def begin(self) -> None:
        """Begin the file."""
        self._path.write_text(",".join(["step", *self._values]) + "\n", encoding="utf-8")

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Learn at which step the run begins: one that is resumed keeps the schedule."""
        del coord
        self._first_step = int(session.run(tf.compat.v1.train.get_global_step(session.graph)))

    def next_step(self, step: int) -> int:
        """Look at the global steps 0, n, 2 n, ..."""
        return step + -(self._first_step + step) % self._every_n_steps

    def before_run(self, run_context: Any) -> Any:
        """Ask for the values of the coming step."""
        del run_context
        return tf.compat.v1.train.SessionRunArgs(self._values)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Write a line."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([run_context.global_step, *run_values.results.values()])

    def support_aggregation(self) -> bool:
        """One instance writes the means over all replicas."""
        return True

    def support_sync_workers(self) -> bool:
        """Each worker writes a file of its own."""
        return False

    def run_inter_mode(self) -> bool:
        """It evaluates nothing while training."""
        return False
