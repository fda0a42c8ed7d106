"""Sets of files that say in their names how many they are: train-00000-of-00008.tfrecord and so on.

Only by these names can a reader tell a set of which files are missing from a smaller one.
"""

from __future__ import annotations

import collections
import contextlib
import glob
import itertools
import os
import re
from typing import TYPE_CHECKING, Final

from attrs import frozen

from mox_core.datasets.folders import list_folder
from mox_core.errors import DataError
from mox_core.stores.folder import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NAME: Final = re.compile(r"(?P<name>.*)-(?P<number>\d{1,9})-of-(?P<total>\d{1,9})(?P<end>|\D.*)", re.DOTALL)
_LISTED: Final = 10


@frozen
class ShardSet:
    """A set of files.

    Attributes:
        folder: where they are.
        name: the beginning of their names.
        total: how many there are, as the names have it.
        end: the end of their names.
    """

    folder: str
    name: str
    total: str
    end: str

    def __str__(self) -> str:
        return repr(f"{self.name}-*-of-{self.total}{self.end}")


def check_sets(files: Iterable[str], pattern: str) -> None:
    """Check that the sets of which a pattern matches some files are whole; it need not match all of their files.

    Raises:
        DataError: if shards of a set are missing, or the pattern matches two sets of one name.
    """
    if not glob.has_magic(pattern):
        return  # one file, asked for by its name
    sets = sets_of(files)
    by_name: dict[tuple[str, str], list[ShardSet]] = collections.defaultdict(list)
    for each in sets:
        by_name[each.folder, each.name].append(each)
    for (folder, name), alike in by_name.items():
        if len(alike) > 1:
            raise DataError(
                f"file_pattern {pattern!r} matches {len(alike)} sets of records named {name!r} in {folder!r}, "
                f"{' and '.join(map(str, alike))}, which may hold the same records. Name the one that is meant, as "
                f"file_pattern={alike[0]}, or each in a list."
            )
    for each in sets:
        if missing := missing_shards(each):
            raise DataError(
                f"{missing}. Write the set anew, or fetch what is missing. To read what is there, name the files "
                "themselves in the list file_pattern."
            )


def sets_of(files: Iterable[str]) -> list[ShardSet]:
    """Return the sets that some files belong to."""
    return list(dict.fromkeys(shard[0] for file in files if (shard := _shard_of(file))))


def missing_shards(of: ShardSet) -> str:
    """Return which files of a set are missing from its folder, as a sentence without its full stop; '' if none is."""
    numbers = _numbers(of)
    total = int(of.total)
    first = 1 if 0 not in numbers and total in numbers else 0  # some writers count from 1
    wanted = range(first, first + total)
    if beyond := [number for number in sorted(numbers) if number not in wanted]:
        return f"the records {of} in {of.folder!r} have a shard {beyond[0]}, which a set of {total} does not have"
    if len(numbers) == total:
        return ""
    missing = (number for number in wanted if number not in numbers)
    some = ", ".join(map(str, itertools.islice(missing, _LISTED))) + ", ..." * (total - len(numbers) > _LISTED)
    return f"of the records {of} in {of.folder!r}, {total - len(numbers)} of {total} shards are missing: {some}"


def _shard_of(file: str) -> tuple[ShardSet, int] | None:
    """Return the set that a file belongs to, and its number in it; None if its name says nothing of that."""
    folder, base = os.path.split(file)
    match = _NAME.fullmatch(base)
    return match and (ShardSet(folder, match["name"], match["total"], match["end"]), int(match["number"]))


def _numbers(of: ShardSet) -> set[int]:
    """Return the numbers of the files of a set that are there."""
    found = set()
    for name in _files_in(of.folder):
        shard = _shard_of(os.path.join(of.folder, name))  # noqa: PTH118 (a path is text here)
        if shard and shard[0] == of:
            found.add(shard[1])
    return found


def _files_in(folder: str) -> Iterator[str]:
    if is_remote(folder):
        yield from list_folder(folder, "It is to hold the records.").files
        return
    with os.scandir(folder or os.curdir) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_file():
                    yield entry.name
