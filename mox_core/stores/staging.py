"""A folder of a store as a folder of this machine, to which files are copied when they are needed."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from mox_core.errors import LogDirError
from mox_core.stores.folder import join
from mox_core.stores.transfers import Transfer, transfer
from mox_core.terminal.parts import amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mox_core.stores.folder import RemoteFile, RemoteFolder

CHECKPOINT_FILE: Final = re.compile(r"(?P<prefix>.*)\.(index|data-\d+-of-\d+)")
_TRIES: Final = 3
_SMALL: Final = re.compile(r"(best/)?(checkpoint|[^/]*\.index)|history\.jsonl|runs\.json|\.mox/.*")
"""What is copied at once: the lists of checkpoints, history and notes of runs, and what plugins keep beside them."""


@frozen(eq=False)
class StagedFolder:
    """A folder of checkpoints.

    Attributes:
        remote: where it is.
        local: the folder that stands for it.
        files: the files on the store, when the run started.
    """

    remote: RemoteFolder
    local: Path
    files: Mapping[str, RemoteFile] = field(repr=False)

    def copy(self, names: Iterable[str]) -> None:
        """Copy files to this machine.

        Raises:
            FileNotFoundError: if one has gone meanwhile.
            LogDirError: if the store cannot be read.
        """
        transfers = []
        for name in names:
            target = self.local / name
            target.parent.mkdir(parents=True, exist_ok=True)
            transfers.append(_copy(self.remote, name, target, self.files[name].size))
        try:
            transfer(transfers, f"Fetching from {self.remote.url}", tries=_TRIES)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise LogDirError(f"{self.remote.url!r} cannot be read: {error}") from error

    def fetch(self, prefix: str) -> list[str]:
        """Copy the data of a checkpoint in the folder, if they are not here yet, and return the names of the files."""
        path = Path(prefix)
        if self.local not in path.parents:
            return []
        name = path.relative_to(self.local).as_posix()
        data = [
            each
            for each in self.files
            if (match := CHECKPOINT_FILE.fullmatch(each))
            and match["prefix"] == name
            and not (self.local / each).exists()
        ]
        if data:
            size = amount(sum(self.files[each].size for each in data), "bytes")
            logging.getLogger("tensorflow").info("Fetching %s (%s)", join(self.remote.url, name), size)
            self.copy(data)
        return data


def stage(remote: RemoteFolder, local: Path, *, deep: bool) -> StagedFolder:
    """Copy what says which checkpoints a folder has, and make an empty folder for each other one in it.

    Args:
        remote: the folder.
        local: an empty folder.
        deep: whether folders in it are looked at, too.

    Raises:
        LogDirError: if the store cannot be read.
    """
    try:
        staged = StagedFolder(remote, local, files_of(remote, deep=deep))
        for name in remote.folders() if deep and staged.files else ():
            (local / name).mkdir(exist_ok=True)
        staged.copy(name for name in staged.files if _SMALL.fullmatch(name))
    except FileNotFoundError as error:
        raise LogDirError(f"{remote.url!r} is being changed while this run starts: {error}. Start it again.") from error
    except LogDirError:
        raise
    except OSError as error:
        raise LogDirError(f"{remote.url!r} cannot be read: {error}") from error
    return staged


def files_of(remote: RemoteFolder, *, deep: bool) -> Mapping[str, RemoteFile]:
    """Return the files of a folder; none where its bucket is not there, which is told when something is written."""
    try:
        return remote.files(deep=deep)
    except FileNotFoundError:
        return {}


def _copy(remote: RemoteFolder, name: str, target: Path, size: int) -> Transfer:
    return Transfer(name, size, lambda: remote.download(name, str(target)))
