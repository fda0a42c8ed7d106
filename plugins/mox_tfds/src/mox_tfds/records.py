"""Records of a prepared data set by their number: files of TFRecord and of ArrayRecord."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from attrs import define, field

from mox_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Numbers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

_HEADER: Final = 12
"""The length of a record in 8 bytes, and their checksum."""
_FOOTER: Final = 4


class Shard(Protocol):
    """A file of records."""

    def __len__(self) -> int:
        """How many records it holds."""

    def read(self, number: int) -> bytes:
        """Return a record."""


@define(eq=False)
class TFRecordShard:
    """A file of TFRecord, whose records are found once, by their lengths."""

    path: Path
    _starts: Numbers = field(init=False)
    _lengths: Numbers = field(init=False)

    def __attrs_post_init__(self) -> None:
        starts: list[int] = []
        lengths: list[int] = []
        place = 0
        with self.path.open("rb") as file:
            size = file.seek(0, 2)
            while place < size:
                file.seek(place)
                header = file.read(_HEADER)
                length = struct.unpack("<Q", header[:8])[0] if len(header) == _HEADER else size
                if place + _HEADER + length + _FOOTER > size:
                    raise DataError(f"{str(self.path)!r} is cut off or damaged behind record {len(starts)}.")
                starts.append(place + _HEADER)
                lengths.append(length)
                place += _HEADER + length + _FOOTER
        self._starts, self._lengths = np.array(starts, np.int64), np.array(lengths, np.int64)

    def __len__(self) -> int:
        """How many records it holds."""
        return len(self._starts)

    def read(self, number: int) -> bytes:
        """Return a record."""
        with self.path.open("rb") as file:
            file.seek(int(self._starts[number]))
            return file.read(int(self._lengths[number]))


@define(eq=False)
class ArrayRecordShard:
    """A file of ArrayRecord, which knows where its records are."""

    path: Path
    _source: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        from array_record.python import array_record_data_source  # noqa: PLC0415  (it comes with tensorflow-datasets)

        try:
            self._source = array_record_data_source.ArrayRecordDataSource([str(self.path)])
        except (RuntimeError, OSError) as error:
            raise DataError(f"{str(self.path)!r} is cut off or damaged: {error}") from error

    def __len__(self) -> int:
        """How many records it holds."""
        return len(self._source)

    def read(self, number: int) -> bytes:
        """Return a record."""
        record: bytes = self._source[number]
        return record


@define(eq=False)
class Records:
    """The records of a split, in files of which parts may be left out.

    Attributes:
        shards: the files.
        first: the first record of each file that counts.
        counts: how many of each file count.
    """

    shards: Sequence[Shard]
    first: Sequence[int]
    counts: Sequence[int]
    _ends: Numbers = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._ends = np.cumsum(np.array(self.counts, np.int64))

    def __len__(self) -> int:
        """How many there are."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def place(self, index: int) -> tuple[int, int]:
        """Return the number of the file of a record, and its number there."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, index - int(self._ends[shard]) + self.counts[shard] + self.first[shard]

    def read(self, index: int) -> bytes:
        """Return a record."""
        shard, number = self.place(index)
        return self.shards[shard].read(number)
