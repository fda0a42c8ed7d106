"""The folder of a run: whether it can be read and written, and that one run at a time writes its checkpoints.

All of it is known before TensorFlow is imported.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
from typing import TYPE_CHECKING, Final, Protocol

from attrs import field, frozen

from mox_core import file_lock
from mox_core.errors import LogDirError
from mox_core.file_lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mox_core.file_lock import Holder

LOCK: Final = ".mox.lock"
"""The file in log_dir of the run that writes its checkpoints, as long as that lasts."""


class Lock(Protocol):
    """What a run holds while it writes into a folder."""

    def is_in_place(self) -> bool:
        """Whether the run still holds it."""


class NoLock:
    """The lock of a run that writes nothing that only one run may write."""

    def is_in_place(self) -> bool:
        """Whether the run still holds it: always."""
        return True


class Remote(Protocol):
    """What of a run is on a remote store."""

    def fetch(self, prefix: str) -> None:
        """Copy the data of a checkpoint to this machine before it is read, if they are on the store only."""

    def publish(self) -> None:
        """Upload what is in log_dir, in a thread: to be called where no file is half written."""

    def finish(self) -> None:
        """Wait until all is uploaded."""


class NothingRemote:
    """That of a run whose files are all on disks of this machine."""

    def fetch(self, prefix: str) -> None:
        """Do nothing."""

    def publish(self) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


NOTHING_REMOTE: Final = NothingRemote()


@frozen
class Held:
    """The folder of a run, which it has.

    Attributes:
        lock: what keeps other runs from it.
        remote: what of it is on a remote store.
    """

    lock: Lock = field(factory=NoLock)
    remote: Remote = NOTHING_REMOTE

    @contextlib.contextmanager
    def uploading(self) -> Iterator[None]:
        """Wait at the end of the block until all is uploaded, also where the block raises."""
        try:
            yield
        except BaseException:
            try:
                self.remote.finish()
            except LogDirError as error:
                logging.getLogger("tensorflow").error("%s", error)  # noqa: TRY400  (what the block raised goes on)
            raise
        self.remote.finish()


@contextlib.contextmanager
def hold(log_dir: Path | None, *, saves: bool, exports: bool) -> Iterator[Lock]:
    """Check the folder of a run; one that saves checkpoints into it has it for itself as long as the block lasts.

    Args:
        log_dir: the folder; it is made if the run saves, and removed again if the run leaves nothing in it.
        saves: whether the run saves checkpoints. Others go on beside it.
        exports: whether the run exports.

    Raises:
        LogDirError: if the folder cannot be read, or not be written though it has to be, or another run has it.
    """
    if log_dir is None:
        yield NoLock()
        return
    log_dir = log_dir.absolute()  # the script may change to another folder meanwhile
    if log_dir.is_symlink() and not log_dir.exists():
        raise LogDirError(f"log_dir {str(log_dir)!r} is a link to {str(log_dir.readlink())!r}, which is not there.")
    _check_readable(log_dir)
    if not saves:
        if exports:
            _check_writable(log_dir)
        yield NoLock()
        return
    with contextlib.ExitStack() as made:
        with _refusing(log_dir):
            for folder in reversed([each for each in (log_dir, *log_dir.parents) if not each.exists()]):
                folder.mkdir(exist_ok=True)
                made.callback(_remove_empty, folder)
            lock = file_lock.take(log_dir / LOCK)
        if not isinstance(lock, FileLock):
            raise _in_use(log_dir, lock)
        try:
            _say_what_locks_cannot(log_dir, lock)
            yield lock
        finally:
            if not lock.is_in_place():
                made.pop_all()  # what is there now is another's
            lock.release()


def _in_use(log_dir: Path, holder: Holder | None) -> LogDirError:
    return LogDirError(
        f"log_dir {str(log_dir)!r} is in use by another run: {holder or 'a process that does not say its number'}. "
        "Two runs would remove each other's checkpoints: end that one, or give this one a log_dir of its own. EVAL and "
        "PREDICT may go on beside a training."
    )


def _check_readable(log_dir: Path) -> None:
    try:
        os.scandir(log_dir).close()
    except FileNotFoundError:
        return
    except OSError as error:
        raise LogDirError(f"log_dir {str(log_dir)!r} cannot be read: {reason(error)}.") from error


def _check_writable(log_dir: Path) -> None:
    """Try to write where an export will go: into the folder, or into the one in which it will be made."""
    with _refusing(log_dir), tempfile.TemporaryFile(dir=next(p for p in (log_dir, *log_dir.parents) if p.exists())):
        pass


@contextlib.contextmanager
def _refusing(log_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LogDirError(
            f"log_dir {str(log_dir)!r} cannot be written: {reason(error)}. Give another one, or none to write nothing."
        ) from error


def reason(error: OSError) -> str:
    """Return why an operation on a file has failed, with the file where it is known."""
    text = error.strerror or str(error)
    return f"{text} ({str(error.filename)!r})" if error.filename is not None else text


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # what is in use is not empty
        folder.rmdir()


def _say_what_locks_cannot(log_dir: Path, lock: FileLock) -> None:
    logger = logging.getLogger("tensorflow")
    if not lock.shared:
        logger.warning(
            "the file system of log_dir %r has no locks: see to it that no other run writes there.", str(log_dir)
        )
    elif lock.left_by is not None and lock.left_by.machine != socket.gethostname():
        logger.warning(
            "the last run in log_dir %r was not ended by itself: %s. Its lock is gone, so it is taken for dead; where "
            "that machine does not share locks with this one, see to it.",
            str(log_dir),
            lock.left_by,
        )
