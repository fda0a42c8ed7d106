"""The originals of local copies: files below a folder of this machine, or below one on a store."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from attrs import define, field, frozen

from mox_core.datasets.folders import reason_of, unreadable
from mox_core.errors import DataError
from mox_core.stores.folder import open_folder
from mox_core.stores.transfers import is_final, persistently

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mox_core.stores.folder import RemoteFile, RemoteFolder

_PIECE: Final = 1 << 20
_REFUSED_AT_ONCE: Final = 16
"""A store that refuses so many files, and has given none, will give none: who may list need not be who may read."""
_SECOND: Final = 1_000_000_000


@frozen
class Stamp:
    """What tells whether a file is a copy of an original as it is now: the copy is given the same.

    Attributes:
        size: bytes.
        mtime_ns: when the original was changed; for one on a store a number that stands for its version.
    """

    size: int
    mtime_ns: int


class Originals(Protocol):
    """The files below a folder. What cannot be read raises an OSError."""

    @property
    def key(self) -> bytes:
        """What tells the folder from all others."""

    @property
    def name(self) -> str:
        """The name of the folder, without those above it."""

    def name_of(self, path: str) -> str:
        """Return the path of a file from the folder on."""

    def stamp(self, path: str) -> Stamp:
        """Return what a copy of a file is given."""

    def read(self, path: str) -> bytes:
        """Return the content of a file."""

    def copy(self, path: str, target: Path) -> None:
        """Copy the content of a file."""

    def unreadable(self, path: str) -> str:
        """Return why a file cannot be read; '' if it can."""


@frozen
class LocalOriginals:
    """Files below a folder of this machine; see `Originals`."""

    root: str

    @property
    def key(self) -> bytes:
        """What tells the folder from all others."""
        return os.fsencode(Path(self.root).absolute())

    @property
    def name(self) -> str:
        """The name of the folder."""
        return Path(self.root).absolute().name

    def name_of(self, path: str) -> str:
        """Return the path of a file from the folder on."""
        return str(Path(path).relative_to(self.root))

    def stamp(self, path: str) -> Stamp:
        """Return what a copy of a file is given: size and time of change."""
        status = Path(path).stat()
        return Stamp(status.st_size, status.st_mtime_ns)

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        return Path(path).read_bytes()

    def copy(self, path: str, target: Path) -> None:
        """Copy the content of a file."""
        shutil.copy2(path, target)

    def unreadable(self, path: str) -> str:
        """Return why a file cannot be read; '' if it can."""
        return unreadable(path)


@define(eq=False)
class StoreOriginals:
    """Files below a folder on a store, as they were listed; see `Originals`.

    What is read is compared with the list: its length, and its MD5 where the store says one. A file that is gone, or is
    not what was listed, fails alone; when the store itself cannot be reached any more, all files fail from then on.

    Attributes:
        root: the URL of the folder.
        files: the files by their paths from the folder on.
    """

    root: str
    files: Mapping[str, RemoteFile] = field(repr=False)
    _remote: RemoteFolder = field(init=False, repr=False)
    _failures: dict[str, OSError] = field(factory=dict, init=False, repr=False)
    _lost: DataError | None = field(default=None, init=False)
    _has_read: bool = field(default=False, init=False)
    _refused: int = field(default=0, init=False)
    _other_content: dict[str, str] = field(factory=dict, init=False, repr=False)
    _md5_counts: bool = field(default=True, init=False)

    def __attrs_post_init__(self) -> None:
        self._remote = open_folder(self.root)

    @property
    def key(self) -> bytes:
        """What tells the folder from all others."""
        return self.root.encode()

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.root.rpartition("/")[2]

    def name_of(self, path: str) -> str:
        """Return the path of a file from the folder on."""
        return path.removeprefix(f"{self.root}/")

    def stamp(self, path: str) -> Stamp:
        """Return what a copy of a file is given: its size, and a time that stands for its version."""
        found = self._listed(path)
        digest = hashlib.blake2b(found.version.encode(), digest_size=4).digest()
        # Even seconds before 2038 can be kept by every file system.
        return Stamp(found.size, (int.from_bytes(digest, "big") & 0x7FFFFFFE) * _SECOND)

    def read(self, path: str) -> bytes:
        """Return the content of a file, which the store is asked for again where it fails.

        Raises:
            DataError: if the store cannot be reached any more.
        """
        self.check()
        name = self.name_of(path)
        if name in self._failures:
            raise self._failures[name]
        try:
            content = persistently(lambda: self._read_once(name))
        except OSError as error:
            self._fail(name, error)
            raise
        self._has_read = True
        return content

    def copy(self, path: str, target: Path) -> None:
        """Copy the content of a file; one try."""
        name = self.name_of(path)
        self._remote.download(name, str(target))
        self._compare(name, target.stat().st_size, _md5_of(target) if self._listed(path).md5 else "")

    def unreadable(self, path: str) -> str:
        """Return why a file could not be read; '' if none of this run has tried in vain.

        Raises:
            DataError: if the store cannot be reached any more.
        """
        self.check()
        error = self._failures.get(self.name_of(path))
        return reason_of(error) if error else ""

    def check(self) -> None:
        """Raise the error of a store that cannot be reached any more, if it is one.

        Raises:
            DataError: if it is.
        """
        if self._lost is not None:
            raise self._lost.with_traceback(None)

    def _listed(self, path: str) -> RemoteFile:
        found = self.files.get(self.name_of(path))
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return found

    def _fail(self, name: str, error: OSError) -> None:
        self._failures[name] = error
        self._refused += isinstance(error, PermissionError) or error.errno in (errno.EACCES, errno.EPERM)
        refuses_all = self._refused >= _REFUSED_AT_ONCE and not self._has_read
        if refuses_all or not (is_final(error) or isinstance(error, _OtherContentError)):
            self._lost = self._lost or DataError(
                f"{self.root!r} cannot be read: {reason_of(error)} ({name!r}). Start the run again when the store "
                "answers: it goes on from its last checkpoint."
            )

    def _read_once(self, name: str) -> bytes:
        content = self._remote.read(name)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() if self.files[name].md5 else ""
        self._compare(name, len(content), md5)
        return content

    def _compare(self, name: str, size: int, md5: str) -> None:
        """Compare what was read of a file with the list.

        Raises:
            _OtherContentError: if it is something else.
        """
        listed = self.files[name]
        if size != listed.size:
            raise _OtherContentError(errno.EIO, f"{size} bytes came, and the store had listed {listed.size}", name)
        if not self._md5_counts or md5 == listed.md5:
            return
        # A store that encrypts may have tags that look like an MD5: then the same comes again, of the same version.
        if self._other_content.get(name) == md5 and self._present_version(name) == listed.version:
            self._md5_counts = False
            return
        self._other_content[name] = md5
        raise _OtherContentError(errno.EIO, "its content is not the one that the store had listed", name)

    def _present_version(self, name: str) -> str:
        above, _, base = name.rpartition("/")
        found = open_folder(f"{self.root}/{above}".rstrip("/")).files(deep=False).get(base)
        return "" if found is None else found.version


class _OtherContentError(OSError):
    """Another content came than was listed: damaged on the way, or the original has been changed."""


def _md5_of(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
