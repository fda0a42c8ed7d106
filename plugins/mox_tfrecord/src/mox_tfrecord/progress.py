"""Progress of long work: a bar on a terminal, elsewhere a line in the log now and then."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import tensorflow as tf
from tqdm import tqdm  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECONDS_BETWEEN_LINES = 30.0


@contextlib.contextmanager
def progress(what: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show progress.

    Args:
        what: the work, as "Writing train".
        total: the number of units.
        unit: the unit, as "images".

    Yields:
        A function to be called with the number of further units that are done.
    """
    done, next_line = 0, time.monotonic() + _SECONDS_BETWEEN_LINES
    with tqdm(desc=what, total=total, unit=f" {unit}", disable=None) as bar:  # None: disabled without a terminal

        def advance(more: int) -> None:
            nonlocal done, next_line
            done += more
            bar.update(more)
            if bar.disable and time.monotonic() >= next_line:
                tf.get_logger().info("%s: %d of %d %s", what, done, total, unit)
                next_line = time.monotonic() + _SECONDS_BETWEEN_LINES

        yield advance
