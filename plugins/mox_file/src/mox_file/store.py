"""Folders on remote stores, as mox itself reads data from them and keeps a log_dir there."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final

from mox_core.stores.folder import RemoteFile
from mox_file.copying import copy_file
from mox_file.local import LocalPlace
from mox_file.places import place_of
from mox_file.remote import remote_place

if TYPE_CHECKING:
    from mox_file.places import Entry
    from mox_file.remote import RemotePlace

_MD5: Final = re.compile(r"[0-9a-f]{32}")
"""S3 calls a content by its MD5, unless it came in parts or is encrypted by a key of KMS."""


class Folder:
    """A folder of any kind of store; see `mox_core.stores.folder.RemoteFolder`.

    Args:
        url: where it is.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        place_of(self.url)  # refuses what no folder can be, or a scheme whose library is missing

    def files(self, *, deep: bool) -> dict[str, RemoteFile]:
        """Return the files in the folder, if deep also those below its folders; none where there is no folder."""
        return {entry.name: _file(entry) for entry in self._entries(deep=deep) if not entry.is_directory}

    def folders(self) -> list[str]:
        """Return the names of the folders in it."""
        return [entry.name for entry in self._entries(deep=False) if entry.is_directory]

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        place = self._place(name)
        with place.errors(reading=True):
            return place.content()

    def write(self, name: str, content: bytes) -> None:
        """Write a file, which appears when it is complete."""
        place = self._place(name)
        with place.errors(), place.open("wb") as file:
            file.write(content)

    def download(self, name: str, path: str) -> None:
        """Copy a file to a path of this machine, where it appears when it is complete and of the file's length."""
        copy_file(self._place(name), LocalPlace(path))

    def upload(self, path: str, name: str) -> None:
        """Copy a file of this machine, which appears when it is complete."""
        copy_file(LocalPlace(path), self._place(name))

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            self._place(name).remove_file()

    def _place(self, name: str) -> RemotePlace:
        return remote_place(self.url).child(name)

    def _entries(self, *, deep: bool) -> list[Entry]:
        place = remote_place(self.url)
        return place.tree() if deep else place.entries()


def _file(entry: Entry) -> RemoteFile:
    tag = entry.tag.strip('"')
    return RemoteFile(entry.size, tag or str(entry.mtime_ns), tag if _MD5.fullmatch(tag) else "")
