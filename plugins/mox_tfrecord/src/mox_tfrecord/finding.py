"""Which files of a folder, of this machine or on a store, a data set of records has."""

from __future__ import annotations

import fnmatch
import glob
import os
from typing import TYPE_CHECKING, Final

import tensorflow as tf
from attrs import field, frozen

from mox_core.datasets.folders import join, list_folder, no_file
from mox_core.errors import DataError
from mox_core.name_lists import some, some_explained
from mox_core.stores.folder import is_remote
from mox_tfrecord.shards import check_sets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mox_core.stores.folder import RemoteFile

    Files = dict[str, RemoteFile | None]
    """Paths or URLs, in their order, each with what its store says of it; None for one of this machine."""

_EXPECTED: Final = "It is to hold the records."


@frozen
class _Matches:
    """What a pattern matches."""

    files: Files = field(factory=dict)
    folders: list[str] = field(factory=list)


def list_files(base_dir: str, file_pattern: str | Sequence[str]) -> Files:
    """Return the files in a folder that patterns match.

    Raises:
        DataError: if none does, or what does cannot be read, or is not all of a set.
    """
    patterns = [file_pattern] if isinstance(file_pattern, str) else list(file_pattern)
    held = list_folder(base_dir, _EXPECTED)
    found: Files = {}
    unmatched: list[str] = []
    for pattern in patterns:
        matches = _match_remote(base_dir, pattern) if is_remote(base_dir) else _match(base_dir, pattern)
        if folders := sorted(matches.folders):
            tf.get_logger().warning("file_pattern %r matches folders, which are not read: %s", pattern, some(folders))
        check_sets(sorted(matches.files), pattern)
        if not matches.files:
            unmatched.append(pattern)
        found |= matches.files
    if not found:
        names = sorted([*held.folders, *held.files, *held.special, *held.broken])
        holds = f"It holds {some(names)}." if names else "It is empty."
        raise DataError(f"no file in {base_dir!r} is named like file_pattern {file_pattern!r}. {holds}")
    if by_name := [pattern for pattern in unmatched if not glob.has_magic(pattern)]:
        raise DataError(f"file_pattern names {some(by_name)}, which {base_dir!r} does not hold.")
    if unmatched:
        tf.get_logger().warning("no file in %r is named like %s, of file_pattern", base_dir, some(unmatched))
    local = sorted(path for path, remote in found.items() if remote is None)
    if unread := {path: reason for path in local if (reason := no_file(path))}:
        raise DataError(f"files that file_pattern {file_pattern!r} matches cannot be read: {some_explained(unread)}.")
    return dict(sorted(found.items()))


def redirected(files: Mapping[str, RemoteFile | None], base_dir: str, redirect_dir: str) -> Files:
    """Return the same files in the other folder.

    Raises:
        DataError: if it lacks one.
    """
    names = [_below(path, base_dir) for path in files]
    others: Files = {}
    if is_remote(redirect_dir):
        for above in dict.fromkeys(name.rpartition("/")[0] for name in names):
            folder = join(redirect_dir, above) if above else redirect_dir
            found = list_folder(folder, f"redirect_dir holds the same files as base_dir {base_dir!r}.").originals
            others |= {join(folder, name): remote for name, remote in found.items()}
        paths = [join(redirect_dir, name) for name in names]
        missing = [path for path in paths if path not in others]
    else:
        paths = [os.path.join(redirect_dir, name) for name in names]  # noqa: PTH118 (a path is text here)
        missing = [path for path in paths if not os.path.isfile(path)]  # noqa: PTH113 (as above)
    if missing:
        raise DataError(
            f"redirect_dir lacks {missing[0]!r} ({len(missing)} of {len(files)} files): it holds the same files as "
            f"base_dir {base_dir!r}, which are then read from there."
        )
    return {path: others.get(path) for path in paths}


def _match(base_dir: str, pattern: str) -> _Matches:
    matches = set(glob.glob(os.path.join(glob.escape(base_dir), pattern)))  # noqa: PTH118, PTH207 (a path is text here)
    folders = {path for path in matches if os.path.isdir(path)}  # noqa: PTH112 (as above)
    return _Matches(dict.fromkeys(matches - folders), list(folders))


def _match_remote(url: str, pattern: str) -> _Matches:
    first, _, rest = pattern.partition("/")
    entries = list_folder(url, _EXPECTED)
    folders = [join(url, name) for name in entries.folders if fnmatch.fnmatchcase(name, first)]
    if not rest:
        names = [name for name in entries.files if fnmatch.fnmatchcase(name, first)]
        return _Matches({join(url, name): entries.originals[name] for name in names}, folders)
    below = [_match_remote(folder, rest) for folder in folders]
    return _Matches(
        {path: remote for each in below for path, remote in each.files.items()},
        [path for each in below for path in each.folders],
    )


def _below(path: str, base_dir: str) -> str:
    if is_remote(base_dir):
        return path.removeprefix(f"{base_dir.rstrip('/')}/")
    return os.path.relpath(path, base_dir)
