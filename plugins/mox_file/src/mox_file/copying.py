"""Copies of files and folders, whole or not at all, from any store to any other."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import tempfile
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mox_core.errors import UsageError
from mox_core.name_lists import some
from mox_file import errors
from mox_file.local import LocalPlace
from mox_file.places import Place, place_of
from mox_file.remote import RemotePlace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mox_file.urls import Url


def copy(src_url: Url, dst_url: Url, client_id: Any = None) -> None:  # noqa: ARG001
    """Copy a file; into a folder, if the second path is one, under its own name. Missing folders are made.

    Args:
        src_url: the file.
        dst_url: the path of the copy, or a folder: one that exists, or a path with '/' at its end.
        client_id: MoXing's, of no effect.

    Raises:
        MoxFileNotExistsException: if there is nothing of the first name.
        IsADirectoryError: if it is a folder, which `copy_parallel` copies.
    """
    source, target = place_of(src_url), place_of(dst_url)
    if source.existing().is_directory:
        raise errors.is_a_directory(source.url, "mox.file.copy_parallel copies folders")
    copy_file(source, target_of_file(source, target))


def copy_parallel(
    src_url: Url,
    dst_url: Url,
    file_list: Iterable[str] | None = None,
    threads: int = 16,
    is_processing: bool = True,  # noqa: ARG001, FBT001, FBT002
    use_queue: bool = True,  # noqa: ARG001, FBT001, FBT002
) -> None:
    """Copy what is in a folder into another, which is made, or a single file; several files at a time.

    Args:
        src_url: the folder; its own name is no part of the copy. Or a file, which is copied as by `copy`.
        dst_url: the folder to copy into; what is there and has another name stays.
        file_list: paths below `src_url`: only these are copied.
        threads: how many files at a time; 0: one after the other, in this thread.
        is_processing: MoXing's, of no effect: threads are enough, as they wait for the network.
        use_queue: MoXing's, of no effect.

    Raises:
        MoxFileNotExistsException: if there is nothing of the first name, or of a name in `file_list`.
        UsageError: if one folder is in the other, or `threads` is no whole number of 0 or more.
    """
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 0:
        raise UsageError(f"threads of mox.file.copy_parallel is {threads!r}; it must be a whole number, 0 or more.")
    source, target = place_of(src_url), place_of(dst_url)
    if not source.existing().is_directory:
        if file_list is not None:
            raise errors.not_a_directory(source.url)
        copy_file(source, target_of_file(source, target))
    elif not source.is_same_as(target):
        copy_tree(source, target, file_list=file_list, threads=threads)


def target_of_file(source: Place, target: Place) -> Place:
    """Return where the copy of a file goes: into the folder, if `target` is one."""
    found = target.entry()
    return target.child(source.name) if target.wants_folder or (found is not None and found.is_directory) else target


def copy_tree(source: Place, target: Place, *, file_list: Iterable[str] | None = None, threads: int = 16) -> None:
    """Copy what is in a folder into another."""
    if source.holds(target):
        raise UsageError(f"{target.url!r} is in {source.url!r}: a folder cannot be copied into itself.")
    found = place_of(target.url).entry()
    if found is not None and not found.is_directory:
        raise errors.MoxFileNameDuplicateException(errno.EEXIST, "A file is where a folder is to be", target.url)
    entries = source.tree()
    files = [entry.name for entry in entries if not entry.is_directory]
    folders = [entry.name for entry in entries if entry.is_directory]
    if file_list is not None:
        files, folders = _listed(source, files, file_list), []
    if not files:
        logging.getLogger("tensorflow").warning("mox.file.copy_parallel: no files to copy in %s.", source.url)
    _make_folders(target, files, folders)
    _copy_all([(source.child(name), target.child(name)) for name in files], threads)


def copy_file(source: Place, target: Place) -> None:
    """Copy a file to a path, which is replaced when the copy is complete."""
    if source.is_same_as(target):
        return
    if isinstance(source, LocalPlace) and Path(source.url).exists() and not Path(source.url).is_file():
        raise UsageError(
            f"{source.url!r} cannot be copied: it is a pipe, a socket or a device, whose content has no end."
        )
    target.check_file_may_be()
    if isinstance(target, LocalPlace):
        target.parent().make_directory()
        _download(source, target)
        return
    if isinstance(source, RemotePlace) and source.shares_store_with(target):
        with source.errors():
            source.filesystem.cp_file(source.path, target.path)  # type: ignore[attr-defined]
    else:
        assert isinstance(target, RemotePlace)  # noqa: S101  (for type checkers: there is no third kind)
        with _as_local(source) as path, target.errors():
            target.filesystem.put_file(path, target.path)
    _check_length(source, target)


def _listed(source: Place, files: list[str], file_list: Iterable[str]) -> list[str]:
    if isinstance(file_list, str | bytes):
        raise UsageError(f"file_list is {file_list!r}; it must be a list of paths below {source.url!r}.")
    wanted = [os.fspath(name).removeprefix("./") for name in file_list]
    missing = sorted(set(wanted) - set(files))
    if missing:
        raise errors.MoxFileNotExistsException(
            errno.ENOENT, f"{len(missing)} of the files of file_list are not there ({some(missing)})", source.url
        )
    return list(dict.fromkeys(wanted))


def _make_folders(target: Place, files: list[str], folders: list[str]) -> None:
    """On a disk all folders; on a remote store, which makes those of files by itself, the empty ones."""
    if isinstance(target, LocalPlace):
        for name in ("", *folders):
            (target.child(name) if name else place_of(target.url)).make_directory()
        return
    filled = {above for name in (*files, *folders) for above in _above(name)}
    for name in folders:
        if name not in filled:
            target.child(name).make_directory()
    if not files and not folders:
        target.make_directory()


def _above(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _copy_all(pairs: list[tuple[Place, Place]], threads: int) -> None:
    if threads == 0:
        for source, target in pairs:
            copy_file(source, target)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="mox-file-copy") as pool:
        copies = [pool.submit(copy_file, *pair) for pair in pairs]
        try:
            wait(copies, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for done in copies:
        if not done.cancelled():
            done.result()


def _download(source: Place, target: LocalPlace) -> None:
    path = Path(os.path.realpath(target.url))
    if path.exists() and not path.is_file():  # a device, a pipe: not to be replaced
        with source.open("rb") as reader, path.open("wb") as writer:
            shutil.copyfileobj(reader, writer)
        return
    number, name = tempfile.mkstemp(prefix=f".{path.name[:50]}.", dir=path.parent)
    os.close(number)
    try:
        if isinstance(source, LocalPlace):
            shutil.copy2(source.url, name)
        else:
            assert isinstance(source, RemotePlace)  # noqa: S101  (as above)
            with source.errors(reading=True):
                source.filesystem.get_file(source.path, name)
            Path(name).chmod(stat.S_IMODE(path.stat().st_mode) if path.exists() else _usual_mode())
        _check_length(source, LocalPlace(name))
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _usual_mode() -> int:
    """Return the mode of a new file: mkstemp gives one that only its owner can read."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


@contextmanager
def _as_local(source: Place) -> Iterator[str]:
    if isinstance(source, LocalPlace):
        yield source.url
        return
    with tempfile.TemporaryDirectory(prefix="mox-file-") as folder:
        copied = LocalPlace(f"{folder}/copy")
        _download(source, copied)
        yield copied.url


def _check_length(source: Place, target: Place) -> None:
    wanted, found = source.existing().size, target.entry()
    if found is None or found.size != wanted:
        has = "is not there" if found is None else f"has {found.size} bytes"
        raise errors.ChangedMeanwhile(
            errno.EIO, f"The copy {has}, where {source.url!r} has {wanted}; did it change meanwhile?", target.url
        )
