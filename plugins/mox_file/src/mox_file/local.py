"""Places on a local disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mox_file import errors
from mox_file.places import Entry, Place

if TYPE_CHECKING:
    from collections.abc import Iterator


class LocalPlace(Place):
    """A path on a local disk."""

    def __init__(self, path: str, *, wants_folder: bool = False) -> None:
        self.url = path
        self.wants_folder = wants_folder

    @property
    def name(self) -> str:
        """Return the last part of the path."""
        return os.path.basename(os.path.abspath(self.url))

    def entry(self) -> Entry | None:
        """Return what is here; None: nothing, or a file where a folder is meant."""
        found = _entry(self.url, self.name)
        return None if found is not None and self.wants_folder and not found.is_directory else found

    def entries(self) -> list[Entry]:
        """Return what is in this folder, by name."""
        found = [_entry(os.path.join(self.url, name), name) for name in sorted(os.listdir(self.url))]
        return [entry for entry in found if entry is not None]

    def tree(self) -> list[Entry]:
        """Return all that is below this folder, by path: folders, too."""
        return sorted(self._below(), key=lambda entry: entry.name)

    def open(self, mode: str) -> IO[Any]:
        """Open the file for a mode of `open`: r, w or a, with or without + and b."""
        self._check(mode)
        encoding = None if "b" in mode else "utf-8"
        try:
            return open(self.url, mode, encoding=encoding)
        except FileNotFoundError as error:
            if mode.startswith("r"):
                raise errors.not_exists(self.url) from error
            raise errors.MoxFileNotExistsException(
                error.errno, "The folder of the file does not exist; mox.file.make_dirs makes it", self.url
            ) from error

    def child(self, path: str) -> LocalPlace:
        """Return the place of a path below this folder."""
        return LocalPlace(os.path.join(self.url, path.rstrip("/")), wants_folder=path.endswith("/"))

    def parent(self) -> LocalPlace:
        """Return the folder that this is in; the root of a store is its own."""
        return LocalPlace(os.path.dirname(os.path.abspath(self.url)))

    def make_directory(self) -> None:
        """Make this folder and those above it, where they are missing."""
        try:
            Path(self.url).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise errors.MoxFileNameDuplicateException(
                error.errno, "A file of this name, or of a folder above, is in the way", self.url
            ) from error

    def remove_file(self) -> None:
        """Remove this file."""
        Path(self.url).unlink()

    def remove_tree(self) -> None:
        """Remove this folder and all in it."""
        if Path(self.url).is_symlink():  # what it leads to is not ours to remove
            Path(self.url).unlink()
        else:
            shutil.rmtree(self.url)

    def is_same_as(self, other: Place) -> bool:
        """Return whether both are one file or folder."""
        return isinstance(other, LocalPlace) and _real(self.url) == _real(other.url)

    def holds(self, other: Place) -> bool:
        """Return whether the other one lies below this one."""
        return isinstance(other, LocalPlace) and _is_below(_real(other.url), _real(self.url))

    def _check(self, mode: str) -> None:
        if not mode.startswith("r"):
            self.check_file_may_be()
            return
        found = _entry(self.url, self.name)
        if found is not None and found.is_directory:
            raise errors.is_a_directory(self.url, "mox.file.list_directory says what is in it")
        if found is not None and self.wants_folder:
            raise errors.not_a_directory(f"{self.url}/")

    def _below(self) -> Iterator[Entry]:
        for folder, names, files in os.walk(self.url, followlinks=True):
            real = _real(folder)
            # A link to a folder above would go round for ever.
            names[:] = [name for name in names if not _is_below(real, _real(os.path.join(folder, name)))]
            for name in (*names, *files):
                path = os.path.join(folder, name)
                found = _entry(path, os.path.relpath(path, self.url).replace(os.sep, "/"))
                if found is not None:
                    yield found


def _entry(path: str, name: str) -> Entry | None:
    try:
        found = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):  # a link that leads nowhere, too
        return None
    is_directory = Path(path).is_dir()
    return Entry(name, is_directory, 0 if is_directory else found.st_size, found.st_mtime_ns)


def _real(path: str) -> str:
    return os.path.realpath(path)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
