"""How far something long is: a bar on a terminal, elsewhere a line now and then."""

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
    """Shows how far something is; the context's value is to be called with how many more are done.

    Args:
        what: what goes on, as "Writing train".
        total: how many there are.
        unit: what they are, as "images".
    """
    done, next_line = 0, time.monotonic() + _SECONDS_BETWEEN_LINES
    with tqdm(desc=what, total=total, unit=f" {unit}", disable=None) as bar:  # None: unless it is no terminal

        def advance(more: int) -> None:
            nonlocal done, next_line
            done += more
            bar.update(more)
            if bar.disable and time.monotonic() >= next_line:
                tf.get_logger().info("%s: %d of %d %s", what, done, total, unit)
                next_line = time.monotonic() + _SECONDS_BETWEEN_LINES

        yield advance
