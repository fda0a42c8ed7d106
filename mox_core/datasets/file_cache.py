"""Local copies of files that are slow to read: whole or not at all, and copied anew when the original changes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mox_core import file_lock
from mox_core.datasets.folders import unreadable
from mox_core.datasets.originals import LocalOriginals, StoreOriginals
from mox_core.datasets.read_ahead import ReadAhead
from mox_core.datasets.shared_folders import remove_when_unused, use_folder
from mox_core.datasets.whole_files import whole_file
from mox_core.errors import DataError, UsageError
from mox_core.stores.folder import is_remote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import tensorflow as tf

    from mox_core.datasets.originals import Originals, Stamp
    from mox_core.stores.folder import RemoteFile

_ENVIRONMENT_VARIABLE: Final = "DLS_LOCAL_CACHE_PATH"
_SECONDS_BETWEEN_LOOKS: Final = 0.1


def cache_folder(cache_dir: str) -> str:
    """Return the folder that the argument `cache_dir` of a data set stands for.

    Args:
        cache_dir: a folder, or 'ENV' for the folder in the environment variable DLS_LOCAL_CACHE_PATH.

    Raises:
        UsageError: if it is 'ENV' and the variable is not set, or it is on a store.
    """
    if is_remote(cache_dir):
        raise UsageError(f"cache_dir is {cache_dir!r}; it must be a folder of this machine.")
    if cache_dir != "ENV":
        return cache_dir
    folder = os.environ.get(_ENVIRONMENT_VARIABLE)
    if not folder:
        raise UsageError(
            f"cache_dir is 'ENV' and the environment variable {_ENVIRONMENT_VARIABLE} is not set. "
            "Set it, or give the path of a folder."
        )
    return folder


def default_cache_folder() -> str:
    """Return the folder for copies of what is on stores, where no cache_dir is given: made for this user alone.

    Raises:
        DataError: if it is another user's.
    """
    if folder := os.environ.get(_ENVIRONMENT_VARIABLE):
        return folder
    path = Path(tempfile.gettempdir(), f"mox-{os.getuid()}-data")
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise DataError(f"{str(path)!r}, where copies of data are to be kept, is another user's. Set TMPDIR.")
    return str(path)


class FileCache:
    """Copies of the files below one folder, in a folder of `cache_dir` that no other folder of originals shares.

    A copy has the size and the time of change of its original; for one on a store, the time stands for its version.
    Several processes may share the copies.

    Args:
        cache_dir: the folder for the copies of all data sets.
        root: the folder of the originals, or its URL.
        remove_on_finish: whether the copies are removed when the last process ends that uses them.
        files: what is on the store, by the paths below the URL.

    Attributes:
        folder: the folder of the copies.
    """

    def __init__(
        self, cache_dir: str, root: str, *, remove_on_finish: bool, files: Mapping[str, RemoteFile] | None = None
    ) -> None:
        self._originals: Originals = LocalOriginals(root)
        if is_remote(root):
            self._originals = StoreOriginals(root.rstrip("/"), files or {})
        digest = hashlib.blake2b(self._originals.key, digest_size=8).hexdigest()
        self.folder = Path(cache_dir).absolute() / f"{self._originals.name}-{digest}"
        self._ahead = ReadAhead(self._make)
        self._without_copies = False
        if remove_on_finish:
            remove_when_unused(self.folder)
        with contextlib.suppress(OSError):  # which whoever writes there meets, too
            use_folder(self.folder)

    def place(self, original: str | os.PathLike[str]) -> Path:
        """Return the path of the copy of a file below the root."""
        return self.folder / self._originals.name_of(os.fspath(original))

    def holds(self, original: str | os.PathLike[str]) -> bool:
        """Return whether there is a copy of a file as it is now, and can be read."""
        try:
            stamp = self._originals.stamp(os.fspath(original))
        except OSError:
            return False
        return _is_copy(self.place(original), stamp) and not unreadable(self.place(original))

    def copy(self, original: str | os.PathLike[str]) -> None:
        """Copy a file.

        Raises:
            OSError: if it cannot be read, or the copy cannot be written.
        """
        path = os.fspath(original)
        with whole_file(self.place(path)) as temporary:
            self._copy_to(path, temporary)

    def copy_once(self, original: str, *, wait: bool) -> None:
        """Copy a file that no other process of this machine is copying, unless there is a copy.

        Args:
            original: the file.
            wait: whether to wait for the other process; else its file is left to it.

        Raises:
            OSError: as `copy`.
        """
        place = self.place(original)
        place.parent.mkdir(parents=True, exist_ok=True)
        while not self.holds(original):
            lock = file_lock.take(place.with_name(f".{place.name}.lock"))
            if isinstance(lock, file_lock.FileLock):
                try:
                    if not self.holds(original):
                        self._copy_alone(original)
                finally:
                    lock.release()
                return
            if not wait:
                return
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def read(self, path: bytes) -> bytes:
        """Return the content of a file below the root, from its copy, which is made if there is none."""
        original = os.fsdecode(path)
        self._ahead.wait_for(original)
        copy, stamp = self.place(original), self._originals.stamp(original)
        try:
            if _is_copy(copy, stamp):
                return copy.read_bytes()
        except OSError:
            pass  # another process has just removed it
        content = self._originals.read(original)
        self._keep(content, copy, stamp)
        return content

    def read_tensor(self, path: tf.Tensor) -> tf.Tensor:
        """Return what `read` does, for a scalar string tensor."""
        import tensorflow as tf

        content: tf.Tensor = tf.numpy_function(self.read, [path], tf.string)
        content.set_shape([])
        return content

    def read_ahead(self, paths: Sequence[str]) -> None:
        """Copy files that will be read soon, in threads, and return at once.

        Raises:
            DataError: if the originals are on a store that cannot be reached any more.
        """
        if isinstance(self._originals, StoreOriginals):
            self._originals.check()
        if not self._without_copies:
            self._ahead.announce(path for path in paths if not self._is_there(path))

    def why_unreadable(self, path: str) -> str:
        """Return why an original cannot be read; '' if it can.

        Raises:
            DataError: as `read_ahead`.
        """
        return self._originals.unreadable(path)

    def _copy_to(self, path: str, target: Path) -> None:
        stamp = self._originals.stamp(path)
        self._originals.copy(path, target)
        os.utime(target, ns=(stamp.mtime_ns, stamp.mtime_ns))

    def _copy_alone(self, path: str) -> None:
        """Copy a file while no other process does, and remove what one has left that was killed: it may be large."""
        place = self.place(path)
        unfinished = place.with_name(f".{place.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            self._copy_to(path, unfinished / place.name)
            (unfinished / place.name).replace(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _is_there(self, path: str) -> bool:
        try:
            return _is_copy(self.place(path), self._originals.stamp(path))
        except OSError:
            return False

    def _make(self, path: str) -> None:
        if not self._without_copies and not self._is_there(path):
            self._keep(self._originals.read(path), self.place(path), self._originals.stamp(path))

    def _keep(self, content: bytes, copy: Path, stamp: Stamp) -> None:
        try:
            with whole_file(copy) as temporary:
                temporary.write_bytes(content)
                os.utime(temporary, ns=(stamp.mtime_ns, stamp.mtime_ns))
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        import tensorflow as tf

        if not self._without_copies:
            self._without_copies = True
            tf.get_logger().warning("files are read without a copy in cache_dir: %s", error)


def _is_copy(copy: Path, original: Stamp) -> bool:
    try:
        found = copy.stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (original.size, original.mtime_ns)
