"""The log_dir of the run that is going on: for plugins that keep files beside it, and what becomes of its errors."""

from __future__ import annotations

import contextlib
import contextvars
import re
from typing import TYPE_CHECKING, Final

import tensorflow as tf

from mox_core.errors import LogDirError
from mox_core.log_dir import reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_OF_OTHER_PROCESSES: Final = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
"""What TensorFlow raises for a parameter server that has gone, also while its variables are saved."""

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


@contextlib.contextmanager
def writing_into(folder: Path | None, *, only: bool = False) -> Iterator[None]:
    """Turn what Python and TensorFlow raise of files in a folder into an error that says what to do.

    Args:
        folder: the folder; None for none.
        only: whether the block works with files of this folder only: some errors do not say with which.

    Raises:
        LogDirError: with the file and the reason, if the block cannot read or write in the folder.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        why = "" if folder is None or isinstance(error, LogDirError) else why_not_written(error, folder, only=only)
        if folder is None or not why:
            raise
        if not folder.is_dir():
            text = f"{str(folder)!r} has gone while a run wrote into it: {why}. Start the run again to begin anew."
        elif any(folder.glob("*.index")):
            text = (
                f"{str(folder)!r} cannot be written: {why}. What was saved there before is whole: a training goes on "
                "from its newest checkpoint when it is started again."
            )
        else:
            text = f"{str(folder)!r} cannot be written: {why}. Nothing has been saved there."
        raise LogDirError(text) from error


def why_not_written(error: OSError | tf.errors.OpError, folder: Path, *, only: bool = False) -> str:
    """Return the reason and the file, '' if the error is of no file in a folder; see `writing_into`."""
    if isinstance(error, OSError):
        inside = only if error.filename is None else str(error.filename).startswith(str(folder))
        return reason(error) if inside else ""
    # TensorFlow: '{{the operation}} /path; No space left on device [Op: ...', then how it came there.
    said = re.sub(r"^\{\{.*?\}\} |\s*\[Op:\w+\].*$", "", error.message.splitlines()[0])
    return said if str(folder) in said or (only and not isinstance(error, _OF_OTHER_PROCESSES)) else ""
