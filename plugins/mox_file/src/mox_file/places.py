"""A place: a path on a local disk or on a remote store. What works with files never asks of which kind."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import IO, TYPE_CHECKING, Any

from attrs import frozen

from mox_file import errors
from mox_file.urls import scheme_of, text_of

if TYPE_CHECKING:
    from mox_file.urls import Url


@frozen
class Entry:
    """What is under a name.

    Attributes:
        name: its name in its folder; for an entry of a tree, the path from the root of the tree, with '/'.
        is_directory: whether it is a folder.
        size: bytes of a file; 0 for a folder.
        mtime_ns: when it was changed, in nanoseconds since 1970; 0 where the store does not say.
        tag: what the store calls this content; '' where it has no name for it.
    """

    name: str
    is_directory: bool
    size: int
    mtime_ns: int
    tag: str = ""


class Place(ABC):
    """A path, and what can be done there.

    Attributes:
        url: the path as the user wrote it, without a slash at its end.
        wants_folder: whether there was one, so that only a folder is meant.
    """

    url: str
    wants_folder: bool

    @abstractmethod
    def entry(self) -> Entry | None:
        """Return what is here; None: nothing, or a file where a folder is meant."""

    @abstractmethod
    def entries(self) -> list[Entry]:
        """Return what is in this folder, by name."""

    @abstractmethod
    def tree(self) -> list[Entry]:
        """Return all that is below this folder, by path: folders, too."""

    @abstractmethod
    def open(self, mode: str) -> IO[Any]:
        """Open the file for a mode of `open`: r, w or a, with or without + and b."""

    @abstractmethod
    def child(self, path: str) -> Place:
        """Return the place of a path below this folder."""

    @abstractmethod
    def parent(self) -> Place:
        """Return the folder that this is in; the root of a store is its own."""

    @abstractmethod
    def make_directory(self) -> None:
        """Make this folder and those above it, where they are missing."""

    @abstractmethod
    def remove_file(self) -> None:
        """Remove this file."""

    @abstractmethod
    def remove_tree(self) -> None:
        """Remove this folder and all in it."""

    @abstractmethod
    def is_same_as(self, other: Place) -> bool:
        """Return whether both are one file or folder."""

    @abstractmethod
    def holds(self, other: Place) -> bool:
        """Return whether the other one lies below this one."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of the path."""

    def errors(self, *, reading: bool = False) -> AbstractContextManager[None]:  # noqa: ARG002
        """Return a context in which errors of the store become those of `mox_file.errors`."""
        return nullcontext()

    def existing(self) -> Entry:
        """Return what is here.

        Raises:
            MoxFileNotExistsException: if nothing is.
        """
        found = self.entry()
        if found is None:
            raise errors.not_exists(self.url)
        return found

    def folder(self) -> Place:
        """Return this place, a folder.

        Raises:
            MoxFileNotExistsException: if nothing is here.
            NotADirectoryError: if it is a file.
        """
        if not self.existing().is_directory:
            raise errors.not_a_directory(self.url)
        return self

    def check_file_may_be(self) -> None:
        """Raise if a file cannot be written here, as a folder is meant, or is here."""
        way_out = "a file needs a name of its own"
        if self.wants_folder:
            raise errors.is_a_directory(f"{self.url}/", way_out)
        found = self.entry()
        if found is not None and found.is_directory:
            raise errors.is_a_directory(self.url, way_out)


def place_of(url: Url) -> Place:
    """Return the place of a path.

    Raises:
        UsageError: for a path that cannot be meant, a scheme that nobody knows, or one whose library is missing.
    """
    text = text_of(url)
    if scheme_of(text) == "file":
        from mox_file.local import LocalPlace  # noqa: PLC0415  (both derive from Place)

        path = text.removeprefix("file://")
        bare = path.rstrip("/") or "/"
        return LocalPlace(bare, wants_folder=path.endswith(("/", os.sep)) and bare != "/")
    from mox_file.remote import remote_place  # noqa: PLC0415  (fsspec, only where something is remote)

    return remote_place(text)
