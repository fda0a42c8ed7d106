"""Local copies of files that are slow to read: made on the first read, whole or not at all."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import tensorflow as tf

from mox_core.errors import UsageError

_ENVIRONMENT_VARIABLE = "DLS_LOCAL_CACHE_PATH"


def cache_folder(cache_dir: str) -> str:
    """Returns the folder that `cache_dir` means: 'ENV' stands for the one in the environment variable.

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
    """Copies of the files below one folder.

    A copy has size and time of change of its original, so that a changed original is copied anew. The copies of
    different data sets lie in different folders of `cache_dir`; several processes may share them.
    """

    def __init__(self, cache_dir: str, root: str, *, remove_on_finish: bool) -> None:
        self._original_root = root
        absolute = Path(root).absolute()
        digest = hashlib.blake2b(os.fsencode(absolute), digest_size=8).hexdigest()
        self.folder = Path(cache_dir).absolute() / f"{absolute.name}-{digest}"
        self._refused = False
        if remove_on_finish:
            _remove_at_exit(self.folder)

    def read_tensor(self, path: tf.Tensor) -> tf.Tensor:
        """Returns the content of the file at a path below the root."""
        content: tf.Tensor = tf.numpy_function(self.read, [path], tf.string)
        content.set_shape([])
        return content

    def read(self, path: bytes) -> bytes:
        """Returns the content of the file at a path below the root, from its copy or while making it."""
        original = Path(os.fsdecode(path))
        copy = self.folder / original.relative_to(self._original_root)
        now = original.stat()
        try:
            known = copy.stat()
            if (known.st_size, known.st_mtime_ns) == (now.st_size, now.st_mtime_ns):
                return copy.read_bytes()
        except OSError:
            pass  # there is no copy yet, or another process has just removed it
        content = original.read_bytes()
        try:
            _write_whole(copy, content, now.st_mtime_ns)
        except OSError as error:
            self._say_refused(error)
        return content

    def _say_refused(self, error: OSError) -> None:
        if not self._refused:
            self._refused = True
            tf.get_logger().warning("files are read without a copy in cache_dir: %s", error)


def _write_whole(path: Path, content: bytes, time_of_change: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.utime(temporary, ns=(time_of_change, time_of_change))
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


@functools.cache
def _remove_at_exit(folder: Path) -> None:
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
