"""A folder on a remote store: what mox asks of it, and who offers one for the scheme of a URL."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, Protocol

from attrs import frozen

from mox_core.errors import UsageError
from mox_core.plugins import loader
from mox_core.plugins.offers import StoreOffer, import_target

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_FLATTENED: Final = re.compile(r"([a-z][a-z0-9+.-]+):(?=/[^/])")
_LOCAL: Final = "file"


@frozen
class RemoteFile:
    """A file on a remote store.

    Attributes:
        size: bytes.
        version: another text whenever the content is another.
        md5: the MD5 of the content in hexadecimal digits, as far as the store says one; '' if it does not.
    """

    size: int
    version: str
    md5: str = ""


class RemoteFolder(Protocol):
    """A folder on a remote store. Names are paths below it, with '/'.

    What cannot be done raises an OSError, FileNotFoundError where a file is not there.
    """

    url: str

    def files(self, *, deep: bool) -> Mapping[str, RemoteFile]:
        """Return the files in the folder, if deep also those below its folders; none where there is no folder."""

    def folders(self) -> list[str]:
        """Return the names of the folders in it."""

    def read(self, name: str) -> bytes:
        """Return the content of a file."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, which appears when it is complete."""

    def download(self, name: str, path: str) -> None:
        """Copy a file to a path of this machine, where it appears when it is complete and of the file's length."""

    def upload(self, path: str, name: str) -> None:
        """Copy a file of this machine, which appears when it is complete."""

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a URL of a remote store."""
    match = _SCHEME.match(os.fspath(path))
    return match is not None and match[1].lower() != _LOCAL


def flattened_url(path: str) -> str:
    """Return the scheme of a URL that has lost one of its slashes, with the colon; '' where it is none."""
    match = _FLATTENED.match(path)
    return match[0] if match and match[1] in loader.installed_plugins().names(StoreOffer) else ""


def local_path(path: str) -> str:
    """Return a path of this machine without the scheme 'file://', which may stand before it."""
    match = _SCHEME.match(path)
    return path[match.end() :] if match and match[1].lower() == _LOCAL else path


def open_folder(url: str) -> RemoteFolder:
    """Return the folder at a URL, whether it exists or not.

    Raises:
        UnknownNameError: if no plugin offers the scheme, or more than one does.
        UsageError: if the URL is none, or a library is missing.
    """
    match = _SCHEME.match(url)
    if match is None:
        raise UsageError(f"{url!r} is no URL, such as 's3://bucket/folder'.")
    offer = loader.installed_plugins().find(StoreOffer, match[1].lower())
    folder: RemoteFolder = import_target(offer)(url.rstrip("/"))
    return folder


def join(url: str, name: str) -> str:
    """Return the URL of a name below a folder."""
    return f"{url.rstrip('/')}/{name}"
