"""Image files by what a user writes: files, folders, patterns, and URLs of stores."""

from __future__ import annotations

import collections
import fnmatch
import functools
import glob
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from mox_core.stores.folder import is_remote, local_path, open_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SUFFIXES: Final = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
"""What is taken of a folder. A file that is named itself is read whatever it is called."""
_PATTERN: Final = frozenset("*?[")
_NOT_OF_THE_USER: Final = "__MACOSX"


@frozen
class ImageFile:
    """An image file.

    Attributes:
        name: its path or URL, as it is told.
        read: returns its content, or raises an OSError.
    """

    name: str
    read: Callable[[], bytes] = field(repr=False, eq=False)


@define
class FoundImages:
    """The files that were asked for.

    Attributes:
        files: them, in the order in which they were asked for.
        left_out: how many files in folders were left out, by suffix.
    """

    files: list[ImageFile] = field(factory=list)
    left_out: collections.Counter[str] = field(factory=collections.Counter)

    def add_folder(self, names: Iterable[str], image_file: Callable[[str], ImageFile]) -> None:
        """Add the images among the files of a folder."""
        for name in sorted(names):
            parts = PurePosixPath(name).parts
            if any(part.startswith(".") or part == _NOT_OF_THE_USER for part in parts):
                continue
            suffix = PurePosixPath(name).suffix.lower()
            if suffix in SUFFIXES:
                self.files.append(image_file(name))
            else:
                self.left_out[suffix or "no suffix"] += 1


def find_images(paths: Iterable[str]) -> FoundImages:
    """Return the files of paths, folders, patterns and URLs. What is not there is a file that cannot be read."""
    found = FoundImages()
    for path in paths:
        if is_remote(path):
            _add_remote(found, path)
        else:
            _add_local(found, local_path(path))
    return found


def _add_local(found: FoundImages, path: str) -> None:
    matching = [path]
    if not os.path.lexists(path) and _PATTERN & set(path):
        matching = sorted(glob.glob(path, recursive=True)) or [path]  # noqa: PTH207  (a pattern with its folders)
    for each in matching:
        if Path(each).is_dir():
            found.add_folder(_walk(each), lambda name, folder=each: _local(os.path.join(folder, name)))  # type: ignore[misc]  # noqa: PTH118  (keeps './')
        else:
            found.files.append(_local(each))


def _local(path: str) -> ImageFile:
    return ImageFile(path, lambda: Path(path).read_bytes())


def _walk(folder: str) -> Iterator[str]:
    for where, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for name in files:
            yield Path(where, name).relative_to(folder).as_posix()


def _add_remote(found: FoundImages, url: str) -> None:
    parent, _, last = url.rstrip("/").rpartition("/")
    folder = open_folder(parent)
    if _PATTERN & set(last):
        names = fnmatch.filter(folder.files(deep=False), last)
        found.files += [_remote(parent, name) for name in sorted(names) or [last]]
    elif inside := [name for name in open_folder(url).files(deep=True) if name]:
        found.add_folder(inside, functools.partial(_remote, url.rstrip("/")))
    else:
        found.files.append(_remote(parent, last))


def _remote(url: str, name: str) -> ImageFile:
    return ImageFile(f"{url}/{name}", lambda: open_folder(url).read(name))
