"""Places on remote stores, through fsspec: which file system a URL belongs to, and what can be done there.

The rule to keep: nothing that a store once said is believed later. Other processes write there, too.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import fsspec

from mox_core.errors import MoxError, UsageError
from mox_file import auth, errors
from mox_file.edited_copy import edited_copy
from mox_file.places import Entry, Place
from mox_file.urls import scheme_of, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_S3: Final = ("s3", "s3a", "obs")
_CHANGED: Final = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_TAGS: Final = ("ETag", "etag", "md5Hash", "content_md5", "generation")
_SECOND: Final = 1_000_000_000
_BUFFER: Final = 1024 * 1024
_AT_ONCE: Final = 16
_LOCK: Final = threading.Lock()
_connections: dict[tuple[Any, ...], Any] = {}
"""The file systems of S3 that were made, by process and identity: fsspec's own cache has one for each thread."""


def remote_place(url: str) -> RemotePlace:
    """Return the place of a URL."""
    scheme, bare = scheme_of(url), url.rstrip("/")
    if scheme in _S3:
        if not urlsplit(url).netloc:
            raise UsageError(f"the path is {url!r}; it must name a bucket, such as '{scheme}://bucket/a.txt'.")
        path = url.partition("://")[2].rstrip("/")
        return RemotePlace(_s3(scheme), path, bare, wants_folder=url.endswith("/") and "/" in path)
    try:
        filesystem, path = fsspec.core.url_to_fs(bare if not bare.endswith(":") else url)
    except ImportError as error:
        raise UsageError(f"{shown(url)!r} needs a library that is not installed: {error}") from error
    except ValueError as error:
        raise UsageError(
            f"the path is {shown(url)!r}, of a scheme that fsspec does not know. It has s3:// and obs:// (with s3fs), "
            "gs:// (with gcsfs), abfs:// (with adlfs), memory:// and others."
        ) from error
    return RemotePlace(filesystem, path.rstrip("/"), bare, wants_folder=url.endswith("/") and bool(path.strip("/")))


def _s3(scheme: str) -> Any:
    key = (os.getpid(), auth.identity())
    with _LOCK:
        if key not in _connections:
            try:
                import s3fs  # noqa: PLC0415  (an extra, and heavy)
            except ImportError as error:
                raise UsageError(
                    f"{scheme}:// needs s3fs, which is not installed: pip install 'mox-file[s3]'"
                ) from error
            _connections.clear()  # one at a time: keys change seldom
            _connections[key] = s3fs.S3FileSystem(**auth.s3_options())
        filesystem = _connections[key]
    if scheme == "obs" and not filesystem.endpoint_url:
        host = urlsplit(filesystem.s3.meta.endpoint_url).hostname or ""  # from botocore's own files, perhaps
        if host.endswith("amazonaws.com"):
            raise UsageError(
                "obs:// needs the endpoint of OBS, else it would ask Amazon: mox.file.set_auth(ak, sk, "
                "server='obs.<region>.myhuaweicloud.com'), or one of the environment variables "
                f"{', '.join(auth.ENDPOINTS)}."
            )
    return filesystem


class RemotePlace(Place):
    """A path on a store that fsspec reaches."""

    def __init__(self, filesystem: Any, path: str, url: str, *, wants_folder: bool = False) -> None:
        self.filesystem = filesystem
        self.path = path
        self.url = url
        self.wants_folder = wants_folder

    @property
    def name(self) -> str:
        """Return the last part of the path."""
        return self.path.rpartition("/")[2]

    @contextmanager
    def errors(self, *, reading: bool = False) -> Iterator[None]:
        """Give errors of the store a class of `mox_file.errors`, and the path."""
        try:
            yield
        except (MoxError, IsADirectoryError, NotADirectoryError):
            raise
        except FileNotFoundError as error:
            raise errors.not_exists(self.url) from error
        except (TypeError, ValueError, AttributeError):  # not the store's: a wrong type, a file that is closed
            raise
        except Exception as error:
            kind = errors.MoxFileReadException if reading else errors.MoxFileRespException
            response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
            refused = isinstance(error, PermissionError)
            number = getattr(error, "errno", None) or (errno.EACCES if refused else errno.EIO)
            text = f"{type(error).__name__}: {shown(getattr(error, 'strerror', None) or str(error))}"
            raise kind(number, text, self.url, resp=errors.harmless(response)) from error

    def entry(self) -> Entry | None:
        """Return what is here; None: nothing, or a file where a folder is meant."""
        with self.errors():
            self.filesystem.invalidate_cache()
            try:
                found = _entry_of(self.filesystem.info(self.path), self.name)
            except FileNotFoundError:
                return None
        return None if self.wants_folder and not found.is_directory else found

    def entries(self) -> list[Entry]:
        """Return what is in this folder, by name."""
        with self.errors():
            self.filesystem.invalidate_cache()
            try:
                infos = self.filesystem.ls(self.path, detail=True)
            except FileNotFoundError:
                infos = []  # a folder of which nothing but its mark is left, on some stores
        return self._entries_of(infos)

    def tree(self) -> list[Entry]:
        """Return all that is below this folder, by path: folders, too."""
        with self.errors():
            self.filesystem.invalidate_cache()
            infos = self.filesystem.find(self.path, withdirs=True, detail=True)
        return self._entries_of(infos.values())

    def open(self, mode: str) -> IO[Any]:
        """Open the file for a mode of `open`: r, w or a, with or without + and b."""
        if mode.startswith("r"):
            self._check_readable()
        else:
            self.check_file_may_be()
        with self.errors(reading=mode.startswith("r")):
            if "+" in mode or mode.startswith("a"):
                return edited_copy(self.filesystem, self.path, mode)
            opened: Any = self.filesystem.open(self.path, f"{mode[0]}b")
        # Files of fsspec lack parts of what a file has to have, such as readline(size).
        return io.BufferedReader(opened, _BUFFER) if mode.startswith("r") else opened

    def content(self) -> bytes:
        """Return all of the file, in one request where that can be: for many small files, requests are what counts."""
        kind: Any = type(self.filesystem)
        found: bytes = self.filesystem.cat_file(self.path, **_in_one_request(kind))
        return found

    def child(self, path: str) -> RemotePlace:
        """Return the place of a path below this folder."""
        below = path.strip("/")
        return RemotePlace(
            self.filesystem, f"{self.path}/{below}", f"{self.url.rstrip('/')}/{below}", wants_folder=path.endswith("/")
        )

    def parent(self) -> RemotePlace:
        """Return the folder that this is in; the root of a store is its own."""
        if "/" not in self.path.strip("/"):
            return self
        return RemotePlace(self.filesystem, self.path.rpartition("/")[0], self.url.rpartition("/")[0])

    def make_directory(self) -> None:
        """Make this folder and those above it, where they are missing."""
        if not _keeps_no_folders(self.filesystem) or "/" not in self.path:  # a bucket is made as a folder is
            self._check_above()
            with self.errors():
                self.filesystem.makedirs(self.path, exist_ok=True)
            return
        for path in self._check_above():
            with self.errors():
                self.filesystem.pipe_file(f"{path}/", b"")  # a folder's mark, as the tools of S3 and OBS make it

    def remove_file(self) -> None:
        """Remove this file."""
        with self.errors():
            self.filesystem.rm_file(self.path)

    def remove_tree(self) -> None:
        """Remove this folder and all in it."""
        # Not by `rm` of fsspec, which takes a name with a bracket in it for a pattern, and on S3 passes over errors.
        with self.errors():
            if _keeps_no_folders(self.filesystem):
                files = {*self.filesystem.find(self.path), f"{self.path}/"}  # the last one: the folder's own mark
                folders = []
            else:
                found = self.tree()
                files = {self.child(entry.name).path for entry in found if not entry.is_directory}
                folders = [self.child(entry.name).path for entry in reversed(found) if entry.is_directory]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(self.filesystem.rm_file, (key for key in files if key.startswith(f"{self.path}/"))))
            for folder in (*folders, *([] if _keeps_no_folders(self.filesystem) else [self.path])):
                with contextlib.suppress(FileNotFoundError):  # some stores keep none
                    self.filesystem.rmdir(folder)

    def is_same_as(self, other: Place) -> bool:
        """Return whether both are one file or folder."""
        return self.shares_store_with(other) and isinstance(other, RemotePlace) and self.path == other.path

    def holds(self, other: Place) -> bool:
        """Return whether the other one lies below this one."""
        inside = isinstance(other, RemotePlace) and f"{other.path}/".startswith(f"{self.path}/")
        return inside and self.shares_store_with(other)

    def shares_store_with(self, other: Place) -> bool:
        """Return whether both are on one store, which can then copy by itself."""
        return isinstance(other, RemotePlace) and self.filesystem is other.filesystem

    def _check_above(self) -> list[str]:
        """Return the folders that are missing from the bucket down to this one; raise where a file is in the way."""
        missing = []
        for place in (*reversed(list(self._above())), self):
            if "/" not in place.path.strip("/") and place is not self:
                continue  # a bucket, of which not everyone may ask
            found = RemotePlace(self.filesystem, place.path, place.url).entry()
            if found is None:
                missing.append(place.path)
            elif not found.is_directory:
                raise errors.MoxFileNameDuplicateException(errno.EEXIST, "A file of this name is in the way", place.url)
        return missing

    def _above(self) -> Iterator[RemotePlace]:
        place = self
        while (above := place.parent()) is not place:
            yield above
            place = above

    def _check_readable(self) -> None:
        if self.wants_folder and RemotePlace(self.filesystem, self.path, self.url).existing().is_directory is False:
            raise errors.not_a_directory(f"{self.url}/")
        if self.existing().is_directory:
            raise errors.is_a_directory(self.url, "mox.file.list_directory says what is in it")

    def _entries_of(self, infos: Any) -> list[Entry]:
        found: dict[str, Entry] = {}
        root = self.path.strip("/")
        for info in infos:
            name = info["name"].strip("/")
            if name == root or not name.startswith(f"{root}/" if root else ""):
                continue  # the folder's own mark
            relative = name[len(root) + 1 :] if root else name
            entry = _entry_of(info, relative)
            if relative not in found or entry.is_directory:
                found[relative] = entry
        return [found[name] for name in sorted(found)]


@functools.cache
def _in_one_request(kind: type[Any]) -> dict[str, Any]:
    """Return the arguments with which a store reads a file in one request: s3fs would ask for its length first."""
    takes = inspect.signature(getattr(kind, "_cat_file", kind.cat_file)).parameters
    return {"max_concurrency": 1} if "max_concurrency" in takes else {}


def _keeps_no_folders(filesystem: Any) -> bool:
    """Whether a folder is there only while something is in it: S3 has keys, and nothing else."""
    return "s3" in filesystem.protocol


def _entry_of(info: dict[str, Any], name: str) -> Entry:
    is_directory = info["type"] == "directory" or info["name"].endswith("/")
    tag = next((str(info[key]) for key in _TAGS if info.get(key)), "")
    return Entry(name, is_directory, 0 if is_directory else int(info.get("size") or 0), _changed(info), tag)


def _changed(info: dict[str, Any]) -> int:
    for key in _CHANGED:
        value = info.get(key)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, datetime):
            return int(value.timestamp() * _SECOND)
        if isinstance(value, int | float):
            return int(value * _SECOND)
    return 0
