"""What is there: everything that changes nothing."""

from __future__ import annotations

import glob as local_glob
import logging
import os
from typing import TYPE_CHECKING, Any

from attrs import frozen

from mox_file.places import Entry, Place, place_of
from mox_file.remote import RemotePlace
from mox_file.urls import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

    from mox_file.urls import Url


@frozen
class Stat:
    """What `stat` says of a file or folder.

    Attributes:
        length: bytes; 0 for a folder.
        mtime_nsec: when it was changed, in nanoseconds since 1970; 0 where the store does not say.
        is_directory: whether it is a folder.
    """

    length: int
    mtime_nsec: int
    is_directory: bool


@frozen
class DirEntry(os.PathLike[str]):
    """One of `scan_dir`, as `os.scandir` has them.

    Attributes:
        name: its name in the folder.
        path: the folder's path, as it was given, and the name.
    """

    name: str
    path: str
    _entry: Entry

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether it is a folder."""
        return self._entry.is_directory and (follow_symlinks or not self.is_symlink())

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether it is a file."""
        return not self._entry.is_directory and (follow_symlinks or not self.is_symlink())

    def is_symlink(self) -> bool:
        """Return whether it is a link, which only local disks have."""
        return os.path.islink(self.path)

    def stat(self) -> Stat:
        """Return its size and time."""
        return _stat_of(self._entry)

    def __fspath__(self) -> str:
        return self.path


class Scan:
    """The entries of a folder: to be iterated over once, and a context manager, as `os.scandir` returns it."""

    def __init__(self, entries: list[DirEntry]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> DirEntry:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration."""
        self._entries = iter(())


def exists(url: Url) -> bool:
    """Return whether there is a file or folder of this name; with a slash at its end, whether there is a folder."""
    return place_of(url).entry() is not None


def is_directory(url: Url) -> bool:
    """Return whether there is a folder of this name."""
    found = place_of(url).entry()
    return found is not None and found.is_directory


def is_file(url: Url) -> bool:
    """Return whether there is a file of this name."""
    found = place_of(url).entry()
    return found is not None and not found.is_directory


def stat(url: Url) -> Stat:
    """Return size and time of a file or folder.

    Raises:
        MoxFileNotExistsException: if there is none.
    """
    return _stat_of(place_of(url).existing())


def get_size(url: Url, recursive: bool = False) -> int:  # noqa: FBT001, FBT002
    """Return the bytes of a file, or, if recursive, of all files in a folder; else the size of a folder is 0."""
    place = place_of(url)
    found = place.existing()
    if not found.is_directory:
        return found.size
    if recursive:
        return sum(entry.size for entry in place.tree())
    logging.getLogger("tensorflow").warning(
        "mox.file.get_size: %s is a folder, whose size is 0 without recursive=True.", place.url
    )
    return 0


def list_directory(
    url: Url,
    recursive: bool = False,  # noqa: FBT001, FBT002
    remove_sep: bool = True,  # noqa: FBT001, FBT002
    skip_file: bool = False,  # noqa: FBT001, FBT002
    skip_dir: bool = False,  # noqa: FBT001, FBT002
) -> list[str]:
    """Return the names in a folder, sorted.

    Args:
        url: the folder.
        recursive: True: the paths of all below it, from it on, with '/'.
        remove_sep: False: names of folders end with '/'.
        skip_file: True: without files.
        skip_dir: True: without folders.

    Raises:
        MoxFileNotExistsException: if there is nothing of this name.
        NotADirectoryError: if it is a file.
    """
    folder = place_of(url).folder()
    entries = folder.tree() if recursive else folder.entries()
    return [
        entry.name + ("/" if entry.is_directory and not remove_sep else "")
        for entry in entries
        if not (skip_dir if entry.is_directory else skip_file)
    ]


def scan_dir(url: Url) -> Scan:
    """Return the entries of a folder, as `os.scandir` does, sorted by name."""
    folder, top = place_of(url).folder(), text_of(url)
    return Scan([DirEntry(entry.name, _joined(top, entry.name), entry) for entry in folder.entries()])


def walk(
    url: Url,
    topdown: bool = True,  # noqa: FBT001, FBT002
    onerror: Callable[[OSError], Any] | None = None,
    followlinks: bool = False,  # noqa: FBT001, FBT002
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield `(folder, names of folders, names of files)` for a folder and all below it, as `os.walk` does.

    Names may be taken out of the list of folders meanwhile. Of what is no folder nothing is yielded; `onerror` is told.
    """
    top, place = text_of(url), place_of(url)
    if not isinstance(place, RemotePlace):
        yield from os.walk(top, topdown, onerror, followlinks)
        return
    yield from _walk(top, place, topdown, onerror)


def glob(url: Url) -> list[str]:
    """Return the absolute paths that match a pattern with `*`, `?`, `[...]` and `**`, sorted."""
    text = text_of(url)
    place = place_of(text)
    if not isinstance(place, RemotePlace):
        return sorted(local_glob.glob(os.path.abspath(place.url), recursive=True))
    scheme = text.partition("://")[0]
    with place.errors():
        place.filesystem.invalidate_cache()
        found: list[str] = place.filesystem.glob(place.path)
    bare = {name.rstrip("/") for name in found}
    return sorted(f"{scheme}://{name.lstrip('/')}" for name in bare)


def _walk(
    top: str,
    place: Place,
    topdown: bool,  # noqa: FBT001
    onerror: Callable[[OSError], Any] | None,
) -> Iterator[tuple[str, list[str], list[str]]]:
    try:
        entries = place.folder().entries()
    except OSError as error:
        if onerror is not None:
            onerror(error)
        return
    folders = [entry.name for entry in entries if entry.is_directory]
    files = [entry.name for entry in entries if not entry.is_directory]
    if topdown:
        yield top, folders, files
    for name in list(folders):
        yield from _walk(_joined(top, name), place.child(name), topdown, onerror)
    if not topdown:
        yield top, folders, files


def _joined(folder: str, name: str) -> str:
    return f"{folder}{name}" if folder.endswith("/") else f"{folder}/{name}"


def _stat_of(entry: Entry) -> Stat:
    return Stat(entry.size, entry.mtime_ns, entry.is_directory)
