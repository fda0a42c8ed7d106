"""Local copies of files that are slow to read: made before the first is read, whole or not at all."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mox_core.errors import UsageError
from mox_core.sdk import info_logging
from mox_tfrecord.progress import progress

_ENVIRONMENT_VARIABLE = "DLS_LOCAL_CACHE_PATH"
_COPIES_AT_A_TIME = 8


def copy_files(files: list[str], cache_dir: str, *, remove_on_finish: bool) -> list[str]:
    """Returns copies of files, which are made where there is none with the size and time of change of the original.

    Args:
        files: the originals.
        cache_dir: a folder, in which each folder of originals has one of its own; 'ENV' for the one in the environment
            variable. Several processes may share it.
        remove_on_finish: whether the copies are removed when the process ends.

    Raises:
        UsageError: if it is 'ENV' and the variable is not set.
    """
    folder = Path(os.environ.get(_ENVIRONMENT_VARIABLE, "") if cache_dir == "ENV" else cache_dir).absolute()
    if cache_dir == "ENV" and not os.environ.get(_ENVIRONMENT_VARIABLE):
        raise UsageError(
            f"cache_dir is 'ENV' and the environment variable {_ENVIRONMENT_VARIABLE} is not set. "
            "Set it, or give the path of a folder."
        )
    pairs = [(original := Path(file).absolute(), _place(folder, original)) for file in files]
    if remove_on_finish:
        for place in {copy.parent for _, copy in pairs}:
            _remove_at_exit(place)
    missing = [(original, copy) for original, copy in pairs if not _is_copy(original, copy)]
    if missing:
        with (
            info_logging(),
            ThreadPoolExecutor(_COPIES_AT_A_TIME) as pool,
            progress("Copying records", total=len(missing), unit="files") as advance,
        ):
            for _ in pool.map(_copy, *zip(*missing, strict=True)):
                advance(1)
    return [str(copy) for _, copy in pairs]


def _place(folder: Path, original: Path) -> Path:
    digest = hashlib.blake2b(os.fsencode(original.parent), digest_size=8).hexdigest()
    return folder / f"{original.parent.name}-{digest}" / original.name


def _is_copy(original: Path, copy: Path) -> bool:
    try:
        found, wanted = copy.stat(), original.stat()
    except FileNotFoundError:
        return False
    return (found.st_size, found.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns)


def _copy(original: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=copy.parent, prefix=".")
    os.close(handle)
    temporary = Path(name)
    try:
        shutil.copy2(original, temporary)
        temporary.replace(copy)
    finally:
        temporary.unlink(missing_ok=True)


@functools.cache
def _remove_at_exit(folder: Path) -> None:
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
