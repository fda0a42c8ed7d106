"""Local copies of files of records, made before the first record is read."""

from __future__ import annotations

import functools
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field

from mox_core.datasets.file_cache import FileCache, cache_folder, default_cache_folder
from mox_core.datasets.folders import reason_of
from mox_core.datasets.originals import StoreOriginals
from mox_core.datasets.shared_folders import use_folder
from mox_core.errors import DataError
from mox_core.sdk import info_logging
from mox_core.stores.folder import is_remote
from mox_core.stores.transfers import TRIES, Transfer, transfer
from mox_core.terminal.parts import amount
from mox_core.terminal.progress import progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mox_core.stores.folder import RemoteFile

_COPIES_AT_A_TIME = 8


def copy_files(files: list[str], cache_dir: str, *, remove_on_finish: bool) -> list[str]:
    """Return the paths of copies of files, in their order; those that are missing or out of date are made.

    A file that cannot be copied is read where it is, with a warning.

    Args:
        files: the originals.
        cache_dir: a folder, in which each folder of originals has one of its own; 'ENV' for the folder in the
            environment variable. Several processes may share it.
        remove_on_finish: whether the copies are removed when the process ends.

    Raises:
        UsageError: if it is 'ENV' and the variable is not set.
    """
    folder = cache_folder(cache_dir)
    originals = [Path(file).absolute() for file in files]
    caches = {
        root: FileCache(folder, str(root), remove_on_finish=remove_on_finish)
        for root in {original.parent for original in originals}
    }
    missing = [original for original in originals if not caches[original.parent].holds(original)]
    failed: dict[Path, OSError] = {}

    def copy(original: Path) -> None:
        try:
            caches[original.parent].copy(original)
        except OSError as error:
            failed[original] = error

    if missing:
        with (
            info_logging(),
            ThreadPoolExecutor(_COPIES_AT_A_TIME) as pool,
            progress("Copying records", total=len(missing), unit="files") as line,
        ):
            for _ in pool.map(copy, missing):
                line.advance(1)
    if failed:
        number, (original, error) = len(failed), min(failed.items())
        tf.get_logger().warning(
            "%d of %d files are read without a copy in cache_dir, %r first: %s",
            number,
            len(files),
            str(original),
            reason_of(error),
        )
    return [str(original if original in failed else caches[original.parent].place(original)) for original in originals]


def stored_files(root: str, files: Mapping[str, RemoteFile | None]) -> StoredFiles | None:
    """Return files with what a store says of each; None where they are not on one."""
    if not is_remote(root):
        return None
    root = root.rstrip("/")
    return StoredFiles(root, {url.removeprefix(f"{root}/"): file for url, file in files.items() if file is not None})


@define(eq=False)
class StoredFiles:
    """Files of records on a store, which have to be on this machine before their records can be counted.

    Attributes:
        root: the URL of their folder.
        files: size and version of each, by its path from there on.
    """

    root: str
    files: Mapping[str, RemoteFile] = field(repr=False)
    _originals: StoreOriginals = field(init=False, repr=False)
    _folder: str = field(default="", init=False, repr=False)
    _remove_on_finish: bool = field(default=True, init=False)
    _copies: dict[str, str] | None = field(default=None, init=False, repr=False)
    _lock: Any = field(init=False, factory=threading.Lock, repr=False)

    def __attrs_post_init__(self) -> None:
        self._originals = StoreOriginals(self.root, self.files)

    def key(self, url: str) -> tuple[str, int, int]:
        """Return what tells a file, as it is now, from all others."""
        stamp = self._originals.stamp(url)
        return url, stamp.size, stamp.mtime_ns

    def keep_copies(self, cache_dir: str | None, *, remove_on_finish: bool) -> None:
        """Say where the copies are to be made, before they are; else a warning says that they are elsewhere.

        Args:
            cache_dir: see `copy_files`; None for a folder that is made for what is on stores.
            remove_on_finish: whether the copies are removed when the last process ends that uses them.

        Raises:
            UsageError: if it is 'ENV' and the variable is not set, or it is on a store.
        """
        folder = default_cache_folder() if cache_dir is None else cache_folder(cache_dir)
        with self._lock:
            if self._copies is None:
                self._folder, self._remove_on_finish = folder, remove_on_finish
            elif cache_dir is not None and folder != self._folder:
                tf.get_logger().warning(
                    "cache_dir has no effect: %s was fetched before, to %s. Make the data set before num_samples is "
                    "asked for, or give num_samples.",
                    *(self.root, self._folder),
                )

    def copies(self) -> dict[str, str]:
        """Return the path of a copy for each URL. Those that are missing or out of date are made, by the first call.

        Processes of one machine share the copies, and the work: no file is fetched by two of them.

        Raises:
            DataError: if a file cannot be fetched.
        """
        with self._lock:
            if self._copies is None:
                self._folder = self._folder or default_cache_folder()
                cache = FileCache(self._folder, self.root, remove_on_finish=self._remove_on_finish, files=self.files)
                self._fetch(cache)
                urls = [f"{self.root}/{name}" for name in self.files]
                self._copies = {url: str(cache.place(url)) for url in urls}
            return self._copies

    def _fetch(self, cache: FileCache) -> None:
        try:
            # What another process is fetching is left to it at first: each does a share of the files.
            for wait in (False, True):
                missing = [name for name in self.files if not cache.holds(f"{self.root}/{name}")]
                if not missing:
                    return
                if not wait:
                    self._begin(cache, missing)
                copies = [self._transfer(cache, name, wait=wait) for name in missing]
                with info_logging():
                    transfer(copies, f"Fetching {self.root}", tries=TRIES)
        except OSError as error:
            raise DataError(
                f"{self.root!r} cannot be copied to {str(cache.folder)!r}: {reason_of(error)}"
                f"{f' ({error.filename!r})' if error.filename else ''}."
            ) from error

    def _transfer(self, cache: FileCache, name: str, *, wait: bool) -> Transfer:
        url = f"{self.root}/{name}"
        return Transfer(url, self.files[name].size, functools.partial(cache.copy_once, url, wait=wait))

    def _begin(self, cache: FileCache, missing: Sequence[str]) -> None:
        """Say what is to be fetched, and refuse what there is no room for."""
        size = sum(self.files[name].size for name in missing)
        use_folder(cache.folder)
        free = shutil.disk_usage(cache.folder).free
        if size > free:
            raise DataError(
                f"{self.root!r} cannot be copied to {str(cache.folder)!r}: {amount(size, 'bytes')} are missing "
                f"there, and {amount(free, 'bytes')} are free. Give cache_dir, or the environment variable "
                "DLS_LOCAL_CACHE_PATH, a folder on a larger disk."
            )
        with info_logging():
            tf.get_logger().info(
                "Fetching %s: %d files (%s), to %s", self.root, len(missing), amount(size, "bytes"), cache.folder
            )
