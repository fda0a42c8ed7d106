"""Files that are fetched in threads before they are read: waiting for a store is done for many of them at a time."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_THREADS: Final = 32
_IDLE_SECONDS: Final = 5.0
"""After this time without work a thread ends, as nobody says that no more will come."""


class ReadAhead:
    """Files that are being fetched, or are about to be.

    The threads are daemons: the end of a process does not wait for what nobody will read. A process that is forked has
    none of them, and begins anew.

    Args:
        fetch: fetches a file by its path.
    """

    def __init__(self, fetch: Callable[[str], None]) -> None:
        self._fetch = fetch
        self._begin()

    def announce(self, paths: Iterable[str]) -> None:
        """Fetch files, in this order, without waiting for them."""
        self._begin_anew_after_fork()
        with self._lock:
            for path in paths:
                if path not in self._coming:
                    self._coming[path] = threading.Event()
                    self._wanted.put(path)
            missing = min(_THREADS, len(self._coming)) - self._threads
            self._threads += max(missing, 0)
        for _ in range(missing):
            threading.Thread(target=self._work, name="mox-read-ahead", daemon=True).start()

    def wait_for(self, path: str) -> None:
        """Wait until a file that was announced is fetched, or could not be."""
        self._begin_anew_after_fork()
        with self._lock:
            coming = self._coming.get(path)
        if coming is not None:
            coming.wait()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._coming: dict[str, threading.Event] = {}
        self._threads = 0

    def _begin_anew_after_fork(self) -> None:
        if self._process != os.getpid():
            self._begin()

    def _work(self) -> None:
        while True:
            try:
                path = self._wanted.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._wanted.empty():  # under the lock, so that nothing is put meanwhile
                        self._threads -= 1
                        return
                continue
            with contextlib.suppress(Exception):  # whoever reads the file meets the same, and says so
                self._fetch(path)
            with self._lock:
                self._coming.pop(path).set()
