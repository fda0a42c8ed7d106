"""A work that mox and its peers do, and the parts that several works share. It does not import TensorFlow."""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOX = "mox"


@frozen(kw_only=True)
class Work:
    """What all contenders do.

    Attributes:
        name: for the command line and the file of bounds.
        title: a line for people.
        unit: what a figure is of: 'step', 'sample', 'record', 'file', or 'run'.
        contenders: `measure(folder) -> seconds a unit`, by name; each is called in a process of its own.
        prepare: puts into the folder what all contenders read.
        needs: packages without which a contender is left out, by its name.
        whole_process: whether what counts is the time from the start of the process, imports included.
    """

    name: str
    title: str
    unit: str
    contenders: dict[str, Callable[[Path], float]]
    prepare: Callable[[Path], None] = field(default=lambda _folder: None)
    needs: dict[str, str] = field(factory=dict)
    whole_process: bool = False


def seconds_a_step(run_steps: Callable[[], object], steps: int, *, windows: int = 7) -> float:
    """Return the median over windows of steps, after one window that also compiles."""
    run_steps()
    times = []
    for _ in range(windows):
        began = time.perf_counter()
        run_steps()
        times.append(time.perf_counter() - began)
    return statistics.median(times) / steps


def shown(seconds: float, unit: str) -> str:
    """Return a time as text: in the largest unit that it has one of."""
    if unit in ("sample", "record", "file"):
        return f"{1 / seconds:,.0f} {unit}s a second"
    scale, name = next((pair for pair in ((1, "s"), (1e-3, "ms")) if seconds >= pair[0]), (1e-6, "us"))
    digits = max(0, 2 - math.floor(math.log10(seconds / scale)))
    return f"{seconds / scale:.{digits}f} {name} a {unit}"
