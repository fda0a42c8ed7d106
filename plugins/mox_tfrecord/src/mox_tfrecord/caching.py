"""Local copies of files of records, made before the first record is read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from mox_core.datasets.file_cache import FileCache, cache_folder
from mox_core.datasets.folders import reason_of
from mox_core.sdk import info_logging
from mox_tfrecord.progress import progress

_COPIES_AT_A_TIME = 8


def copy_files(files: list[str], cache_dir: str, *, remove_on_finish: bool) -> list[str]:
    """Return the paths of copies of files, in their order; those that are missing or out of date are made.

    A file that cannot be copied is read where it is, with a warning.

    Args:
        files: the originals.
        cache_dir: a folder, in which each folder of originals has one of its own; 'ENV' for the folder in the
            environment variable. Several processes may share it.
        remove_on_finish: whether the copies are removed when the process ends.

    Raises:
        UsageError: if it is 'ENV' and the variable is not set.
    """
    folder = cache_folder(cache_dir)
    originals = [Path(file).absolute() for file in files]
    caches = {
        root: FileCache(folder, str(root), remove_on_finish=remove_on_finish)
        for root in {original.parent for original in originals}
    }
    missing = [original for original in originals if not caches[original.parent].holds(original)]
    failed: dict[Path, OSError] = {}

    def copy(original: Path) -> None:
        try:
            caches[original.parent].copy(original)
        except OSError as error:
            failed[original] = error

    if missing:
        with (
            info_logging(),
            ThreadPoolExecutor(_COPIES_AT_A_TIME) as pool,
            progress("Copying records", total=len(missing), unit="files") as advance,
        ):
            for _ in pool.map(copy, missing):
                advance(1)
    if failed:
        number, (original, error) = len(failed), min(failed.items())
        tf.get_logger().warning(
            "%d of %d files are read without a copy in cache_dir, %r first: %s",
            number,
            len(files),
            str(original),
            reason_of(error),
        )
    return [str(original if original in failed else caches[original.parent].place(original)) for original in originals]
