"""Folders made, files and folders removed and renamed."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mox_core.errors import UsageError
from mox_file import errors
from mox_file.copying import copy_file, copy_tree, target_of_file
from mox_file.local import LocalPlace
from mox_file.places import Place, place_of

if TYPE_CHECKING:
    from mox_file.urls import Url


def make_dirs(url: Url) -> None:
    """Make a folder, and those above it, where they are missing."""
    place_of(url).make_directory()


def mk_dir(url: Url) -> None:
    """Make a folder, where the one above it exists; one that exists already is left as it is.

    Raises:
        MoxFileNotExistsException: if the folder above is missing.
    """
    place = place_of(url)
    above = place.parent()
    found = above.entry()
    if found is None or not found.is_directory:
        raise errors.MoxFileNotExistsException(
            errno.ENOENT, "The folder above does not exist; mox.file.make_dirs makes both", place.url
        )
    place.make_directory()


def remove(url: Url, recursive: bool = False) -> None:  # noqa: FBT001, FBT002
    """Remove a file, or, if recursive, a folder and all in it. A folder without `recursive` stays; the log says so.

    Raises:
        MoxFileNotExistsException: if there is nothing of this name.
    """
    place = place_of(url)
    if place.wants_folder and place.entry() is None and place_of(place.url).entry() is not None:
        _warn_of_nothing_removed(f"{place.url}/", "it is a file, and its name ends without a slash")
        return
    if isinstance(place, LocalPlace) and Path(place.url).is_symlink() and not place.wants_folder:
        place.remove_file()  # the link, not what it leads to
    elif not place.existing().is_directory:
        place.remove_file()
    elif recursive:
        place.remove_tree()
    else:
        _warn_of_nothing_removed(place.url, "it is a folder, which recursive=True removes")


def rename(src_url: Url, dst_url: Url) -> None:
    """Move a file or a folder, also from one store to another. A file that is in the way is replaced.

    Raises:
        MoxFileNotExistsException: if there is nothing of the first name.
        MoxFileNameDuplicateException: if the place of a folder is taken by a file, or by a folder with something in it.
    """
    source, target = place_of(src_url), place_of(dst_url)
    found = source.existing()
    if source.is_same_as(target):
        return
    if found.is_directory:
        _rename_folder(source, target)
        return
    target = target_of_file(source, target)
    if not _renamed_by_the_disk(source, target):
        copy_file(source, target)
        source.remove_file()


def _rename_folder(source: Place, target: Place) -> None:
    if source.holds(target):
        raise UsageError(f"mox.file.rename cannot move {source.url!r} into itself, to {target.url!r}.")
    there = place_of(target.url).entry()
    if there is not None and (not there.is_directory or target.entries()):
        raise errors.MoxFileNameDuplicateException(errno.EEXIST, "The place is taken", target.url)
    if not _renamed_by_the_disk(source, target):
        copy_tree(source, target)
        source.remove_tree()


def _renamed_by_the_disk(source: Place, target: Place) -> bool:
    if not (isinstance(source, LocalPlace) and isinstance(target, LocalPlace)):
        return False
    target.parent().make_directory()
    try:
        os.replace(source.url, target.url)
    except OSError as error:
        if error.errno == errno.EXDEV:  # another disk
            return False
        raise
    return True


def _warn_of_nothing_removed(url: str, why: str) -> None:
    logging.getLogger("tensorflow").warning("mox.file.remove: %s stays: %s.", url, why)
