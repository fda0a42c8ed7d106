"""The log_dir of the run that is going on, for plugins that keep files beside it."""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_folder: contextvars.ContextVar[Path | None] = contextvars.ContextVar("mox_run_folder", default=None)


def run_folder() -> Path | None:
    """Return the log_dir of the run that is going on; None where there is none, or outside of a run.

    The folder may not exist yet. What is kept there for mox itself, not for users, goes into its folder `.mox`.
    """
    return _folder.get()


@contextlib.contextmanager
def run_folder_scope(log_dir: Path | None) -> Iterator[None]:
    """Make `run_folder` return a log_dir in the block."""
    token = _folder.set(log_dir)
    try:
        yield
    finally:
        _folder.reset(token)
