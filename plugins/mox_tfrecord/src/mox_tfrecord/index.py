"""An index of the records of many files.

Scans of files are cached, in memory for the process and in the run's folder for the next one: files that have not
changed are not scanned again.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import time
import zipfile
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from attrs import frozen

from mox_core.datasets.whole_files import whole_file
from mox_core.errors import DataError
from mox_core.sdk import info_logging, run_folder
from mox_core.terminal.progress import is_live, progress
from mox_tfrecord.scanning import AROUND, FileScan, scan_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mox_core.terminal.parts import Progress
    from mox_tfrecord.caching import StoredFiles

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_SHOWN = 0.2
_READERS = 16  # threads, for disks and networks that take their time
_FAST = 20e-6  # seconds a record
_FILENAME = "tfrecords.npz"

Key = tuple[str, int, int]
"""Path, size and time of change; of a file on a store its URL, and a time that stands for its version."""

_known: dict[tuple[Key, str | None], FileScan] = {}


@frozen(eq=False)
class RecordIndex:
    """The records of some files, numbered throughout.

    Attributes:
        paths: the files.
        scans: the records of each.
        starts: the number of the first record of each file, and the number of all records as the last entry.
        keys: what tells each file, as it was scanned, from all others.
    """

    paths: tuple[str, ...]
    scans: tuple[FileScan, ...]
    starts: tuple[int, ...]
    keys: tuple[Key, ...]

    def __len__(self) -> int:
        return self.starts[-1]

    @property
    def num_bytes(self) -> int:
        """How many bytes the records have."""
        return sum(int((scan.lengths + AROUND).sum()) for scan in self.scans)

    def place_of(self, number: int) -> int:
        """Return the place of the file that holds a record, among the paths."""
        return int(np.searchsorted(self.starts, number, side="right")) - 1

    def describe(self, number: int) -> str:
        """Return the position of a record, for messages, which quote it."""
        file = self.place_of(number)
        inside = number - self.starts[file]
        scan = self.scans[file]
        of_content = " of what it holds" if scan.compression else ""
        return f"{self.paths[file]}: record {inside}, at byte {scan.offsets[inside]}{of_content}"

    def losses(self) -> list[str]:
        """Return for each damaged file what is wrong, and how much of it is lost, for messages."""
        return [
            f"{path!r} {scan.damage.reason}{_loss(scan)}"
            for path, scan in zip(self.paths, self.scans, strict=True)
            if scan.damage
        ]

    def empty_files(self) -> list[str]:
        """Return the files that are whole and hold no record."""
        found = zip(self.paths, self.scans, strict=True)
        return [path for path, scan in found if not scan.damage and not len(scan.lengths)]


def make_index(paths: Sequence[str], compression: str | None, stored: StoredFiles | None = None) -> RecordIndex:
    """Return the index of the records of files, which are scanned unless a scan of them is cached.

    Args:
        paths: the files, or their URLs.
        compression: "", "GZIP" or "ZLIB"; None to detect it for each file.
        stored: the files, where they are on a store. They are fetched if one has to be scanned.

    Raises:
        DataError: if a file cannot be read.
    """
    try:
        keys = [stored.key(path) if stored else _key(path) for path in paths]
        folder = run_folder()
        if folder is not None and any((key, compression) not in _known for key in keys):
            for key, scan in _load(folder).items():
                _known.setdefault((key, None), scan)
                _known.setdefault((key, scan.compression), scan)
        missing = [key for key in dict.fromkeys(keys) if (key, compression) not in _known]
        copies = stored.copies() if stored and missing else {}
        here = [copies.get(path, path) for path, *_ in missing]
        for key, scan in zip(missing, _scan(here, compression), strict=True):
            _known[key, compression] = scan
    except OSError as error:
        raise DataError(f"the records cannot be read: {error}") from error
    scans = tuple(_known[key, compression] for key in keys)
    starts = np.cumsum([0, *(len(scan.lengths) for scan in scans)]).tolist()
    index = RecordIndex(tuple(paths), scans, tuple(starts), tuple(keys))
    remember(index)
    return index


def remember(index: RecordIndex) -> None:
    """Write the scans of undamaged files into the folder of the current run; outside of a run do nothing."""
    folder = run_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        found = {key: scan for key, scan in zip(index.keys, index.scans, strict=True) if not scan.damage}
        before = _load(folder)
        if not found.keys() <= before.keys():
            changed = {path for path, *_ in found}
            _save(folder, {key: scan for key, scan in before.items() if key[0] not in changed} | found)


def _key(path: str) -> Key:
    status = os.stat(path)  # noqa: PTH116 (a path is text here)
    return os.path.abspath(path), status.st_size, status.st_mtime_ns  # noqa: PTH100 (as above)


def _loss(scan: FileScan) -> str:
    """Return how much of a damaged file can be read, and how much cannot, for messages."""
    number, damage = len(scan.lengths), scan.damage
    text = f". {number} records before that can be read"
    if damage is None or damage.lost_bytes is None or not number:
        return text
    records = max(1, round(damage.lost_bytes / float(np.mean(scan.lengths + AROUND))))
    text += f", and {damage.lost_bytes} bytes (about {records} record{'s' * (records > 1)}) cannot"
    return text + ("; what else the file held is not known" if "cut off" in damage.reason else "")


def _scan(paths: list[str], compression: str | None) -> list[FileScan]:
    """Scan files, and log the progress every few seconds.

    One thread scans files in memory faster than several, which would wait for one another: the files are scanned one
    by one as long as that is fast, and the others in parallel.
    """
    counts: list[int] = []  # the threads append to it
    scans: list[Future[FileScan]] = []
    with (
        ThreadPoolExecutor(_READERS) as pool,
        info_logging(),
        progress("Counting records", total=len(paths), unit="files", only_live=True) as line,
    ):
        try:
            fast = True
            for path in paths:
                begin, before = time.perf_counter(), len(counts)
                scans.append(pool.submit(scan_file, path, compression, counts.append))
                if fast:
                    _wait(scans, len(paths), counts, line)
                    fast = time.perf_counter() - begin < _FAST * (sum(counts[before:]) + 100)
            _wait(scans, len(paths), counts, line)
            return [scan.result() for scan in scans]
        finally:
            pool.shutdown(cancel_futures=True)


def _wait(scans: list[Future[FileScan]], num_files: int, counts: list[int], line: Progress) -> None:
    """Wait until all scans have ended, or one has failed."""
    while True:
        state = wait(scans, _SECONDS_BETWEEN_SHOWN if is_live() else _SECONDS_BETWEEN_LINES, FIRST_EXCEPTION)
        line.show(len(state.done), f"{sum(counts):,} records")
        if not state.not_done or any(scan.exception() for scan in state.done):
            return
        if is_live():
            continue
        tf.get_logger().info(
            "Counting records: %d of %d files are read, %d records so far", len(state.done), num_files, sum(counts)
        )


def _load(folder: Path) -> dict[Key, FileScan]:
    """Return the scans that an earlier run has written into its folder; none if they cannot be read."""
    path = folder / ".mox" / _FILENAME
    try:
        return _read(path) if path.is_file() else {}
    except Exception as error:  # noqa: BLE001  (a cache: whatever is wrong with it, it is made anew)
        tf.get_logger().warning(
            "%r, where the counts of records are kept, cannot be read (%s: %s): they are counted anew.",
            str(path),
            type(error).__name__,
            error,
        )
        return {}


def _read(path: Path) -> dict[Key, FileScan]:
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        damaged = archive.testzip()  # NumPy does not look at the checksum of an array whose header says it is shorter
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged!r} is wrong")
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        paths, sizes, times = stored["paths"].tolist(), stored["sizes"].tolist(), stored["times"].tolist()
        compressions, starts, lengths = stored["compressions"].tolist(), stored["starts"], stored["lengths"]
    keys = zip(map(os.fsdecode, paths), sizes, times, strict=True)
    spans = itertools.pairwise(starts)
    return {
        key: FileScan(compression, lengths[start:end])
        for key, compression, (start, end) in zip(keys, compressions, spans, strict=True)
    }


def _save(folder: Path, known: dict[Key, FileScan]) -> None:
    with whole_file(folder / ".mox" / _FILENAME, suffix=".npz") as temporary:
        np.savez_compressed(
            temporary,
            paths=np.array([os.fsencode(path) for path, _, _ in known]),
            sizes=np.array([size for _, size, _ in known]),
            times=np.array([time for _, _, time in known]),
            compressions=np.array([scan.compression for scan in known.values()]),
            starts=np.cumsum([0, *(len(scan.lengths) for scan in known.values())]),
            lengths=np.concatenate([scan.lengths for scan in known.values()]),
        )
