"""A log_dir or checkpoint_path on a remote store.

A run works in a folder of this machine, to which the indices of the checkpoints on the store are copied when it starts.
The data of a checkpoint follow when it is read, and what the run writes is uploaded in a thread while it goes on. The
store alone says where a run stands: what a killed run has left on this machine is removed.

Stores have no locks. A run leaves a file with a number of its own there, and looks at it before each upload: of two
runs, the one that started last goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from attrs import define, field, frozen

from mox_core import log_dir
from mox_core.errors import LogDirError, MoxError
from mox_core.log_dir import LOCK, Held
from mox_core.stores.folder import open_folder
from mox_core.stores.staging import StagedFolder, files_of, stage
from mox_core.stores.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mox_core.arguments import RunConfig
    from mox_core.log_dir import Lock
    from mox_core.run_result import RunResult
    from mox_core.stores.folder import RemoteFolder

_OURS: Final = re.compile(r"(best/)?(checkpoint|model\.ckpt-\d+\.(index|data-\d+-of-\d+))|\.mox/.*")
"""What goes from the store when it goes from the folder."""
_LOG: Final = "log"


@contextlib.contextmanager
def hold(config: RunConfig) -> Iterator[tuple[RunConfig, Held]]:
    """Hold the folder of a run for the block, wherever it is.

    Yields:
        The configuration with paths of this machine, and what is held.

    Raises:
        LogDirError: if the folder is in use by another run, or cannot be read or written.
    """
    with contextlib.ExitStack() as stack:
        remote = _Remote()
        if config.log_dir_url is None:
            lock = stack.enter_context(log_dir.hold(config.log_dir, saves=config.saves, exports=config.exports))
        else:
            config, lock = _hold_remote(config, config.log_dir_url, remote, stack)
        if config.is_chief:
            paths = {scope: _stage(url, remote, stack) for scope, url in _checkpoint_urls(config).items()}
            if isinstance(config.checkpoint_path, Mapping):
                config = attrs.evolve(config, checkpoint_path={**config.checkpoint_path, **paths})
            elif paths:
                config = attrs.evolve(config, checkpoint_path=paths[""])
        yield config, Held(lock, remote)


def _hold_remote(config: RunConfig, url: str, remote: _Remote, stack: contextlib.ExitStack) -> tuple[RunConfig, Lock]:
    """Hold a folder of this machine in the place of one on a store, as long as the stack is open."""
    folder = open_folder(url)
    place = _place_in(Path(tempfile.gettempdir()) if config.saves else _temporary_folder(stack), url)
    local = place / _LOG
    stack.enter_context(_named(url))
    lock = stack.enter_context(log_dir.hold(local, saves=config.saves, exports=config.exports))
    if config.writes:
        local.mkdir(exist_ok=True)
        _remove_leftovers(place)
        staged = stage(folder, local, deep=True)
        is_ours = stack.enter_context(_take(folder)) if config.saves else lambda: True
        known = {name for name in staged.files if config.saves and _OURS.fullmatch(name)}
        uploads = Uploads(local, folder, place / "uploads", known, is_ours)
        stack.callback(_close, uploads, place)
        remote.staged.append(staged)
        remote.uploads = uploads
        lock = _RemoteLock(lock, uploads)
    return attrs.evolve(config, log_dir=local), lock


def in_urls(result: RunResult, config: RunConfig) -> RunResult:
    """Return the result of a run with the URLs of what it wrote, where it wrote to a store."""
    checkpoint, paths = result.checkpoint, dict(result.export_paths)
    for url in _staged_urls(config):
        checkpoint = checkpoint and _in_urls(checkpoint, url)
        paths = {name: _in_urls(path, url) for name, path in paths.items()}
    return attrs.evolve(result, checkpoint=checkpoint, export_path=next(iter(paths.values()), None), export_paths=paths)


def _staged_urls(config: RunConfig) -> Iterator[str]:
    if config.log_dir_url is not None:
        yield config.log_dir_url
    for url in _checkpoint_urls(config).values():
        yield from (url, url.rpartition("/")[0])


def _checkpoint_urls(config: RunConfig) -> Mapping[str, str]:
    """Return the URLs in checkpoint_path by their scopes, '' where it is one alone."""
    urls = config.checkpoint_url
    if isinstance(urls, Mapping):
        return urls
    return {} if urls is None else {"": urls}


def _stage(url: str, remote: _Remote, stack: contextlib.ExitStack) -> Path:
    """Stage a checkpoint as long as the stack is open, and return its path on this machine."""
    path, staged = _stage_checkpoint(url, _temporary_folder(stack))
    remote.staged.append(staged)
    stack.enter_context(_named(staged.remote.url))
    return path


@define
class _Remote:
    """What of a run is on stores; see `log_dir.Remote`."""

    staged: list[StagedFolder] = field(factory=list)
    uploads: Uploads | None = None

    def fetch(self, prefix: str) -> None:
        for each in self.staged:
            fetched = each.fetch(prefix)
            if self.uploads is not None and each.local == self.uploads.local:
                self.uploads.note_fetched(fetched)

    def publish(self) -> None:
        if self.uploads is not None:
            self.uploads.publish()

    def finish(self) -> None:
        if self.uploads is not None:
            self.uploads.finish()


@frozen
class _RemoteLock:
    """A lock on this machine, and the file on the store."""

    local: Lock
    uploads: Uploads

    def is_in_place(self) -> bool:
        return self.local.is_in_place() and not self.uploads.lost


@contextlib.contextmanager
def _take(folder: RemoteFolder) -> Iterator[Callable[[], bool]]:
    """Leave a file on the store that says who writes there, and yield what tells whether it is still there."""
    own = {
        "id": uuid.uuid4().hex,
        "process": os.getpid(),
        "machine": socket.gethostname(),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }

    def holder() -> dict[str, object]:
        try:
            found = json.loads(folder.read(LOCK))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    try:
        if other := holder():
            logging.getLogger("tensorflow").warning(
                "the last run in %s has not said that it ended: process %s on machine %r, since %s. If it still runs, "
                "it ends when it saves next.",
                *(folder.url, other.get("process"), other.get("machine"), other.get("since")),
            )
        folder.write(LOCK, json.dumps(own).encode())
    except FileNotFoundError as error:
        raise LogDirError(
            f"log_dir {folder.url!r} cannot be written: its bucket is not there ({error}). Make it, or correct it."
        ) from error
    except OSError as error:
        raise LogDirError(f"log_dir {folder.url!r} cannot be written: {error}") from error
    yield lambda: holder().get("id") == own["id"]
    with contextlib.suppress(OSError):  # what is left is said at the next start
        if holder().get("id") == own["id"]:
            folder.remove(LOCK)


def _stage_checkpoint(url: str, parent: Path) -> tuple[Path, StagedFolder]:
    """Stage the folder or the prefix of a checkpoint, and return its path on this machine."""
    folder, _, name = url.rpartition("/")
    if files_of(open_folder(url), deep=False) or folder.endswith("/"):
        staged = _stage_alone(url, parent)
        return staged.local, staged
    staged = _stage_alone(folder, parent)
    if name in staged.files:
        staged.copy([name])  # a checkpoint in one file, as TensorFlow wrote them before 1.0
    return staged.local / name, staged


def _stage_alone(url: str, parent: Path) -> StagedFolder:
    local = _place_in(parent, url) / _LOG
    local.mkdir()
    return stage(open_folder(url), local, deep=False)


@contextlib.contextmanager
def _named(url: str) -> Iterator[None]:
    """Name the folder on the store in the log lines and errors of the block, not that of a machine."""

    def rename(record: logging.LogRecord) -> bool:
        if (text := record.getMessage()) != (renamed := _in_urls(text, url)):
            record.msg, record.args = renamed, None
        return True

    logger = logging.getLogger("tensorflow")
    logger.addFilter(rename)
    try:
        yield
    except MoxError as error:
        error.args = tuple(_in_urls(each, url) if isinstance(each, str) else each for each in error.args)
        raise
    finally:
        logger.removeFilter(rename)


def _in_urls(text: str, url: str) -> str:
    """Return a text with a URL where it names the folder that stands for it on a machine: the chief's, for instance."""
    return re.sub(rf"[^\s'\"=]*/mox-\d+-{_digest(url)}/{_LOG}(?=/|\W|$)", lambda _: url, text)


def _place_in(parent: Path, url: str) -> Path:
    """Return a folder of this machine for a URL; the same one for all runs that have the same parent."""
    place = parent / f"mox-{os.getuid()}-{_digest(url)}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.getuid():
        raise LogDirError(f"{str(place)!r}, where {url!r} is to be staged, is another user's. Set TMPDIR.")
    return place


def _digest(url: str) -> str:
    return hashlib.blake2b(url.encode(), digest_size=8).hexdigest()


def _temporary_folder(stack: contextlib.ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mox-run-", ignore_cleanup_errors=True)))


def _remove_leftovers(place: Path) -> None:
    """Remove what a killed run has left: only what is on the store counts."""
    shutil.rmtree(place / "uploads", ignore_errors=True)
    for path in (place / _LOG).iterdir():
        if path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _close(uploads: Uploads, place: Path) -> None:
    with contextlib.suppress(LogDirError):  # said before
        uploads.finish()
        _remove_leftovers(place)
