"""A local folder that is copied to a remote store again and again, while a program goes on."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  (its end of the program is to be registered before ours)
import logging
import threading
from typing import TYPE_CHECKING

from mox_core.errors import UsageError
from mox_file import errors
from mox_file.copying import copy_file
from mox_file.places import Entry, Place, place_of

if TYPE_CHECKING:
    from mox_file.urls import Url


def background_sync_copy(src: Url, dst: Url, seconds: float = 120) -> BackgroundCopy:
    """Copy what is new or changed in a folder to another place every so many seconds, in a thread of its own.

    A file that cannot be copied is told in the log and tried again in the next round; the program goes on. There is a
    last round when the program ends. What is removed from the folder stays in the copy.

    Args:
        src: the folder; it may come into being later.
        dst: the folder of the copy.
        seconds: from the end of one round to the next.

    Returns:
        The copy, whose `stop()` ends it, after a last round.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise UsageError(f"seconds of mox.file.background_sync_copy is {seconds!r}; it must be a number above 0.")
    source, target = place_of(src), place_of(dst)
    if source.is_same_as(target) or source.holds(target):
        raise UsageError(f"{target.url!r} is in {source.url!r}: a folder cannot be copied into itself.")
    return BackgroundCopy(source, target, seconds)


class BackgroundCopy:
    """A copy that is kept up; `background_sync_copy` begins it."""

    def __init__(self, source: Place, target: Place, seconds: float) -> None:
        self._source, self._target, self._seconds = source, target, seconds
        self._copied: dict[str, Entry] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mox-file-sync", daemon=True)
        self._thread.start()
        # An ordinary atexit function comes too late: by then the executors of threads have ended, and with them the
        # resolving of names of hosts. These come in the opposite order of registration, ours before that of executors.
        threading._register_atexit(self.stop)  # type: ignore[attr-defined]  # noqa: SLF001

    def stop(self) -> None:
        """Copy what is left, and end."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self._seconds):
            self._round()
        self._round(is_last=True)

    def _round(self, *, is_last: bool = False) -> None:
        try:
            entries = self._source.tree() if self._source.entry() is not None else []
        except Exception as error:  # noqa: BLE001  (the program is not to be disturbed)
            self._warn(self._source, error)
            return
        for entry in entries:
            if entry.is_directory or self._copied.get(entry.name) == entry:
                continue
            place = self._source.child(entry.name)
            try:
                copy_file(place, self._target.child(entry.name))
            except Exception as error:  # noqa: BLE001  (as above)
                grows = isinstance(error, errors.ChangedMeanwhile) and not is_last  # a log, say: the next round sees it
                if not grows and place.entry() is not None:  # it may have been removed meanwhile
                    self._warn(place, error)
            else:
                self._copied[entry.name] = entry  # as it was before: a change meanwhile is seen in the next round

    def _warn(self, place: Place, error: Exception) -> None:
        logging.getLogger("tensorflow").warning(
            "mox.file.background_sync_copy: %s is not copied to %s: %s: %s.%s",
            place.url,
            self._target.url,
            type(error).__name__,
            error,
            "" if self._end.is_set() else " The next round tries again.",
        )
