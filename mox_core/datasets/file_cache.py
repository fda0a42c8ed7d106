"""Local copies of files that are slow to read: whole or not at all, and copied anew when the original changes."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from mox_core.datasets.folders import unreadable
from mox_core.datasets.whole_files import whole_file
from mox_core.errors import UsageError

if TYPE_CHECKING:
    import tensorflow as tf

_ENVIRONMENT_VARIABLE = "DLS_LOCAL_CACHE_PATH"


def cache_folder(cache_dir: str) -> str:
    """Return the folder that the argument `cache_dir` of a data set stands for.

    Args:
        cache_dir: a folder, or 'ENV' for the folder in the environment variable DLS_LOCAL_CACHE_PATH.

    Raises:
        UsageError: if it is 'ENV' and the variable is not set.
    """
    if cache_dir != "ENV":
        return cache_dir
    folder = os.environ.get(_ENVIRONMENT_VARIABLE)
    if not folder:
        raise UsageError(
            f"cache_dir is 'ENV' and the environment variable {_ENVIRONMENT_VARIABLE} is not set. "
            "Set it, or give the path of a folder."
        )
    return folder


class FileCache:
    """Copies of the files below one folder, in a folder of `cache_dir` that no other folder of originals shares.

    A copy has the size and the time of change of its original. Several processes may share the copies.

    Args:
        cache_dir: the folder for the copies of all data sets.
        root: the folder of the originals.
        remove_on_finish: whether the copies are removed when the process ends.

    Attributes:
        folder: the folder of the copies.
    """

    def __init__(self, cache_dir: str, root: str, *, remove_on_finish: bool) -> None:
        self._root = root
        absolute = Path(root).absolute()
        digest = hashlib.blake2b(os.fsencode(absolute), digest_size=8).hexdigest()
        self.folder = Path(cache_dir).absolute() / f"{absolute.name}-{digest}"
        self._warned = False
        if remove_on_finish:
            _remove_at_exit(self.folder)

    def place(self, original: Path) -> Path:
        """Return the path of the copy of a file below the root."""
        return self.folder / original.relative_to(self._root)

    def holds(self, original: Path) -> bool:
        """Return whether there is a copy of a file as it is now, and can be read."""
        try:
            status = original.stat()
        except OSError:
            return False
        return _is_copy(self.place(original), status) and not unreadable(self.place(original))

    def copy(self, original: Path) -> None:
        """Copy a file.

        Raises:
            OSError: if it cannot be read, or the copy cannot be written.
        """
        with whole_file(self.place(original)) as temporary:
            shutil.copy2(original, temporary)

    def read(self, path: bytes) -> bytes:
        """Return the content of a file below the root, from its copy, which is made if there is none."""
        original = Path(os.fsdecode(path))
        copy, status = self.place(original), original.stat()
        try:
            if _is_copy(copy, status):
                return copy.read_bytes()
        except OSError:
            pass  # another process has just removed it
        content = original.read_bytes()
        try:
            with whole_file(copy) as temporary:
                temporary.write_bytes(content)
                os.utime(temporary, ns=(status.st_mtime_ns, status.st_mtime_ns))
        except OSError as error:
            self._warn(error)
        return content

    def read_tensor(self, path: tf.Tensor) -> tf.Tensor:
        """Return what `read` does, for a scalar string tensor."""
        import tensorflow as tf

        content: tf.Tensor = tf.numpy_function(self.read, [path], tf.string)
        content.set_shape([])
        return content

    def _warn(self, error: OSError) -> None:
        import tensorflow as tf

        if not self._warned:
            self._warned = True
            tf.get_logger().warning("files are read without a copy in cache_dir: %s", error)


def _is_copy(copy: Path, original: os.stat_result) -> bool:
    try:
        found = copy.stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (
        original.st_size,
        original.st_mtime_ns,
    )


@functools.cache
def _remove_at_exit(folder: Path) -> None:
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
