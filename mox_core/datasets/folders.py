"""The entries of a folder, in the same order on every machine, told apart by what can be done with them."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from mox_core.datasets.said import warn_once
from mox_core.errors import DataError
from mox_core.name_lists import some, some_explained
from mox_core.stores.folder import flattened_url, is_remote, open_folder
from mox_core.stores.transfers import persistently

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_core.stores.folder import RemoteFile

_LISTINGS_AT_A_TIME: Final = 16

_KINDS: Final = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}

_OF_SYSTEMS: Final = frozenset(
    {"__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)


@frozen
class Folder:
    """The entries of a folder without hidden ones, sorted by name. Links are what they lead to.

    Attributes:
        folders: the names of folders.
        files: the names of regular files.
        special: the name of each FIFO, socket and device, with what it is: to read one may take for ever.
        broken: the name of each entry that cannot be looked at, with the reason: a link to nowhere, a loop of links.
        originals: size and version of each file, in a folder on a store.
    """

    folders: list[str] = field(factory=list)
    files: list[str] = field(factory=list)
    special: dict[str, str] = field(factory=dict)
    broken: dict[str, str] = field(factory=dict)
    originals: dict[str, RemoteFile] = field(factory=dict)

    @property
    def readable_or_broken(self) -> list[str]:
        """The names of regular files, and of what may be one but cannot be looked at: reading it tells the reason."""
        return sorted([*self.files, *self.broken]) if self.broken else self.files


def list_folder(path: str, expected: str) -> Folder:
    """Return the entries of a folder.

    Args:
        path: the folder, or its URL.
        expected: the end of the error's text: what the folder should contain.

    Raises:
        DataError: if the folder does not exist, is a file, or cannot be read.
    """
    if is_remote(path):
        return _list_remote(path, expected)
    found = Folder()
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    _add(found, entry)
    except FileNotFoundError as error:
        raise DataError(f"there is no folder {path!r}.{_lost_slash(path)} {expected}") from error
    except NotADirectoryError as error:
        raise DataError(f"{path!r} is a file, not a folder. {expected}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"the folder {path!r} cannot be read: {reason_of(error)}. {expected}") from error
    return Folder(
        folders=sorted(found.folders),
        files=sorted(found.files),
        special=dict(sorted(found.special.items())),
        broken=dict(sorted(found.broken.items())),
    )


def list_folders(paths: Sequence[str], expected: str) -> list[Folder]:
    """Return the entries of each of some folders; those on stores are listed several at a time.

    Raises:
        DataError: as `list_folder`.
    """
    if not any(map(is_remote, paths)):
        return [list_folder(path, expected) for path in paths]
    with ThreadPoolExecutor(_LISTINGS_AT_A_TIME, thread_name_prefix="mox-list") as pool:
        try:
            return list(pool.map(lambda path: list_folder(path, expected), paths))
        finally:
            pool.shutdown(cancel_futures=True)


def join(folder: str, *names: str) -> str:
    """Return the path of what is in a folder, or its URL."""
    if is_remote(folder):
        return "/".join([folder.rstrip("/"), *names])
    return str(Path(folder, *names))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file, or of one on a store by its URL.

    Raises:
        OSError: if it cannot be read.
    """
    if not is_remote(path):
        return Path(path).read_bytes()
    folder, _, name = os.fspath(path).rpartition("/")
    remote = open_folder(folder)
    return persistently(lambda: remote.read(name))


def list_class_folders(path: str, expected: str) -> Folder:
    """Return the entries of a folder of class folders, without the folders that systems put anywhere.

    Raises:
        DataError: as `list_folder`; and if an entry cannot be looked at, which may be a class folder or labels.txt.
    """
    found = list_folder(path, expected)
    of_systems = [name for name in found.folders if name in _OF_SYSTEMS]
    if of_systems:
        warn_once(f"In {path!r} are left out, as systems and programs put them there: {some(of_systems)}")
        found = evolve(found, folders=[name for name in found.folders if name not in _OF_SYSTEMS])
    if found.broken:
        raise DataError(
            f"{path!r} holds {some_explained(found.broken)}, without which the classes may get other labels: mend or "
            f"remove it. {expected}"
        )
    return found


def no_file(path: str | os.PathLike[str]) -> str:
    """Return why there is no regular file of a path; '' if there is one."""
    try:
        kind = kind_of(os.stat(path).st_mode)  # noqa: PTH116 (a path is text here)
    except (OSError, ValueError) as error:
        return reason_of(error)
    return kind and f"it is {kind}, not a regular file"


def unreadable(path: str | os.PathLike[str]) -> str:
    """Return why the system does not let one read a regular file; '' if it does."""
    if reason := no_file(path):
        return reason
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a path is text here)
            file.read(1)
    except OSError as error:
        return reason_of(error)
    return ""


def kind_of(mode: int) -> str:
    """Return what a file of a mode is, as 'a FIFO'; '' for a regular file."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "a special file")


def reason_of(error: Exception) -> str:
    """Return what the system says of an error, without the path, which the message quotes."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def warn_of_unread(path: str, found: Folder) -> None:
    """Log what is in a folder of images and is not read."""
    unread = dict.fromkeys(found.folders, "a folder") | found.special
    if unread:
        warn_once(f"In {path!r} are not read, as they are no regular files: {some_explained(unread)}")


def _list_remote(url: str, expected: str) -> Folder:
    remote = open_folder(url)
    try:
        files = persistently(lambda: remote.files(deep=False))
        folders = persistently(remote.folders)
    except OSError as error:
        raise DataError(f"the folder {url!r} cannot be read: {reason_of(error)}. {expected}") from error
    if not files and not folders:
        raise DataError(f"there is no folder {url!r}, or nothing is in it. {expected}")
    seen = {name: file for name, file in sorted(files.items()) if not _is_hidden(name)}
    return Folder(folders=sorted(name for name in folders if not _is_hidden(name)), files=list(seen), originals=seen)


def _lost_slash(path: str) -> str:
    lost = flattened_url(path)
    return lost and (
        f" One slash is missing behind {lost!r}: pathlib and os.path.normpath take it away. Give the URL as a string."
    )


def _is_hidden(name: str) -> bool:
    return not name or name.startswith(".")


def _add(found: Folder, entry: os.DirEntry[str]) -> None:
    try:
        if entry.is_dir():
            found.folders.append(entry.name)
        elif entry.is_file():
            found.files.append(entry.name)
        else:
            found.special[entry.name] = kind_of(entry.stat().st_mode)
    except FileNotFoundError:
        found.broken[entry.name] = "a link to nowhere"
    except OSError as error:
        found.broken[entry.name] = reason_of(error)
