"""A local folder that is kept up on a remote store, in a thread, so that what is there is whole at any moment.

What is to be there is taken by `publish`, in the thread that writes the files, when none is half written. Files that
are renamed into their place (checkpoints) are linked, others copied, so that the folder may change while they are
uploaded. A later `publish` takes the place of one that is not done: a slow network gets the newest checkpoint alone.

The order is that of a disk: an index comes behind its data and goes before them, the file `checkpoint` comes last, and
only then goes what is not in the folder any more.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from mox_core.errors import LogDirError
from mox_core.stores.transfers import Transfer, transfer
from mox_core.terminal.parts import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from mox_core.stores.folder import RemoteFolder

    Stamp = tuple[int, int, int]
    """What tells whether a file is another one than before: size, time of change, inode."""

_INDEX: Final = ".index"
_DATA: Final = re.compile(r"(.*)\.data-\d+-of-\d+")
_EVENTS: Final = re.compile(r"(.*/)?events\.out\.tfevents\..*")
_LAST: Final = (_INDEX, "saved_model.pb", "checkpoint")
"""The ends of the names of files without which what is beside them is not found, in the order in which they come."""
_KEPT: Final = ".mox"
"""The hidden folder that belongs to a run; what else is hidden is not complete yet, or of this machine only."""

_SECONDS_BETWEEN_SUMMARIES: Final = 30.0
_SECONDS_WITHOUT_A_WORD: Final = 2.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_TRIES_AT_THE_END: Final = 6


@frozen(eq=False)
class _Snapshot:
    """What is to be on the store.

    Attributes:
        folder: links and copies of the files that were not there when it was taken.
        stamps: the stamps of all files, by their names.
        held: the names of those in the folder.
        whole: whether it has all files, so that others may go.
    """

    folder: Path
    stamps: Mapping[str, Stamp]
    held: Collection[str]
    whole: bool

    def __str__(self) -> str:
        size = amount(sum(self.stamps[name][0] for name in self.held), "bytes")
        indices = [name.removesuffix(_INDEX) for name in self.held if name.endswith(_INDEX) and "/" not in name]
        return f"{len(self.held)} files, {size}" + (f", with {', '.join(sorted(indices))}" if indices else "")


@define(eq=False)
class Uploads:
    """The uploads of a folder.

    Attributes:
        local: the folder, with files only that have come from the store.
        remote: where its files go.
        scratch: a folder on the same disk, for what is being uploaded.
        known: the names of the files on the store that go when they are gone here.
        is_ours: whether nobody else has taken the remote folder since; it may raise an OSError.
    """

    local: Path
    remote: RemoteFolder
    scratch: Path
    known: set[str]
    is_ours: Callable[[], bool]
    _uploaded: dict[str, Stamp] = field(factory=dict, init=False)
    _wanted: _Snapshot | None = field(default=None, init=False)
    _in_hand: _Snapshot | None = field(default=None, init=False)
    _closing: bool = field(default=False, init=False)
    _failure: Exception | None = field(default=None, init=False)
    _count: int = field(default=0, init=False)
    _change: threading.Condition = field(factory=threading.Condition, init=False)
    _thread: threading.Thread = field(init=False)
    lost: bool = field(default=False, init=False)
    """Whether another run has taken the remote folder: nothing is uploaded any more."""

    def __attrs_post_init__(self) -> None:
        self._uploaded |= _stamps(self.local)
        self._thread = threading.Thread(target=self._run, name="mox-uploads", daemon=True)
        self._thread.start()

    def note_fetched(self, names: Iterable[str]) -> None:
        """Note that files of the folder have come from the store since: they need not go there."""
        with self._change:
            stamps = _stamps(self.local)
            self._uploaded |= {name: stamps[name] for name in names if name in stamps}

    def publish(self) -> None:
        """Let what is in the folder now be uploaded: to be called where no file is half written."""
        with self._change:
            if not (self.lost or self._closing):
                self._want(self._snapshot(_stamps(self.local), whole=True))

    def finish(self) -> None:
        """Wait until all is uploaded, and end.

        Raises:
            LogDirError: if it cannot be uploaded; it stays in the local folder then.
        """
        self.publish()
        with self._change:
            self._closing = True
            self._change.notify_all()
            behind = self._wanted
        self._thread.join(_SECONDS_WITHOUT_A_WORD)
        if self._thread.is_alive():
            logging.getLogger("tensorflow").info("Uploading to %s: %s.", self.remote.url, behind)
        while self._thread.is_alive():
            self._thread.join(timeout=0.5)  # in between, Python comes to handle signals
        if self._failure is not None or self.lost:
            why = "another run has taken it" if self.lost else f"they cannot be uploaded: {self._failure}"
            raise LogDirError(
                f"{self.remote.url!r} lacks the last files of this run ({behind}): {why}. They are on this machine, in "
                f"the folder {self.local.name!r} of {os.fspath(self.local.parent)!r}, until the next run with this "
                "log_dir begins here: copy before what is to stay."
            ) from self._failure

    def _run(self) -> None:
        failures = 0
        while (snapshot := self._next()) is not None:
            try:
                self._upload(snapshot)
                failures = 0
            except Exception as error:  # noqa: BLE001  (of a library, and nothing is to be lost without a word)
                failures += 1
                if self._closing and failures >= _TRIES_AT_THE_END:
                    self._failure = error
                    return
                self._wait_after(snapshot, error, failures)
            finally:
                with self._change:
                    self._in_hand = None
                    if self._wanted is not snapshot:
                        shutil.rmtree(snapshot.folder, ignore_errors=True)

    def _next(self) -> _Snapshot | None:
        """Wait for something to upload, and return it; None where nothing comes any more."""
        with self._change:
            while self._wanted is None and not (self._closing or self.lost):
                if not self._change.wait(_SECONDS_BETWEEN_SUMMARIES):
                    events = {name: each for name, each in _stamps(self.local).items() if _EVENTS.fullmatch(name)}
                    self._want(self._snapshot(events, whole=False))
            self._in_hand = None if self.lost else self._wanted
            return self._in_hand

    def _want(self, snapshot: _Snapshot) -> None:
        if self._wanted is not None and self._wanted is not self._in_hand:
            shutil.rmtree(self._wanted.folder, ignore_errors=True)
        self._wanted = snapshot
        self._change.notify_all()

    def _snapshot(self, stamps: dict[str, Stamp], *, whole: bool) -> _Snapshot:
        self._count += 1
        folder, held = self.scratch / str(self._count), []
        changed = {name for name, stamp in stamps.items() if self._uploaded.get(name) != stamp}
        changed |= {match[1] + _INDEX for name in changed if (match := _DATA.fullmatch(name))} & stamps.keys()
        for name in sorted(changed):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _hold(self.local / name, target)
                held.append(name)
            except FileNotFoundError:  # a hook has just removed it
                del stamps[name]
        return _Snapshot(folder, stamps, held, whole)

    def _wait_after(self, snapshot: _Snapshot, error: Exception, failures: int) -> None:
        pause = min(_FIRST_PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE)
        logging.getLogger("tensorflow").warning(
            "%s is behind (%s): %s. The next try is in %.0f seconds.", self.remote.url, snapshot, error, pause
        )
        with self._change:
            self._change.wait(pause)

    def _upload(self, snapshot: _Snapshot) -> None:
        if not self.is_ours():
            self.lost = True
            logging.getLogger("tensorflow").warning(
                "another run has taken %s: this one uploads nothing there any more.", self.remote.url
            )
            return
        new = {name for name in snapshot.held if self._uploaded.get(name) != snapshot.stamps[name]}
        indices = {match[1] + _INDEX for name in new if (match := _DATA.fullmatch(name))}
        for name in indices & {*self.known, *self._uploaded}:  # a checkpoint that is written anew
            self.remote.remove(name)
            self._uploaded.pop(name, None)
        new |= indices & {*snapshot.held}
        for files in _in_order(new):
            each = [self._transfer(snapshot, name) for name in files]
            transfer(each, f"Uploading to {self.remote.url}", tries=1)  # all is tried again, as it is by then
        if snapshot.whole:
            self._remove_all_but(snapshot.stamps)
        with self._change:
            if self._wanted is snapshot:
                self._wanted = None

    def _transfer(self, snapshot: _Snapshot, name: str) -> Transfer:
        def copy() -> None:
            self.remote.upload(str(snapshot.folder / name), name)
            self._uploaded[name] = snapshot.stamps[name]

        return Transfer(name, snapshot.stamps[name][0], copy)

    def _remove_all_but(self, stamps: Mapping[str, Stamp]) -> None:
        gone = {name for name in {*self.known, *self._uploaded} if name not in stamps}
        # The data of older checkpoints are not here, but on the store: their index says that they are wanted.
        gone -= {name for name in gone if (match := _DATA.fullmatch(name)) and match[1] + _INDEX in stamps}
        for name in sorted(gone, key=lambda name: not name.endswith(_INDEX)):
            self.remote.remove(name)
            self.known.discard(name)
            self._uploaded.pop(name, None)


def _in_order(names: Iterable[str]) -> list[list[str]]:
    """Return names in groups, each to be complete before the next begins."""
    groups: list[list[str]] = [[] for _ in (None, *_LAST)]
    for name in names:
        groups[next((place for place, end in enumerate(_LAST, 1) if name.endswith(end)), 0)].append(name)
    return [group for group in groups if group]


def _hold(path: Path, target: Path) -> None:
    """Keep the present content of a file under another path: by a link, where the file itself never changes."""
    if path.name.endswith(_INDEX) or _DATA.fullmatch(path.name):
        try:
            os.link(path, target)
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links
            pass
        else:
            return
    shutil.copyfile(path, target)


def _stamps(folder: Path) -> dict[str, Stamp]:
    found = {}
    for path in _files_below(folder):
        try:
            status = path.stat()
        except FileNotFoundError:  # a link to nowhere, or it has just gone
            continue
        found[path.relative_to(folder).as_posix()] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def _files_below(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") or name == _KEPT]
        yield from (Path(where, name) for name in files if not name.startswith("."))
