"""Scanning the records of a file by their headers of 12 bytes, without reading the content.

A record is its length (8 bytes), a checksum of the length (4), the content, and a checksum of the content (4).
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Lengths = npt.NDArray[np.int64]

HEADER_SIZE = 12
AROUND = HEADER_SIZE + 4
"""Bytes of a record beside its content."""

_HEADER = np.dtype([("length", "<u8"), ("checksum", "<u4")])
_HEADERS_IN_BLOCK = 4096  # checked at a time: after a damaged length, what is taken for headers is not
_CHUNK = 2**20
_MANY = 2**16  # bytes read for the headers of small records
_LARGE = 2**13  # bytes of a record from which on its header is read alone
_ANY_ZLIB = 47  # zlib detects the form of the header, zlib's or gzip's
_GZIP_START = b"\x1f\x8b\x08"


@frozen
class Damage:
    """Where a file is damaged or cut off.

    Attributes:
        offset: the byte at which the damaged record begins; in a compressed file, of its decompressed content.
        reason: what is wrong, as the end of a sentence that begins with the name of the file.
        lost_bytes: the bytes of the file from there on; None if not known.
    """

    offset: int
    reason: str
    lost_bytes: int | None


@frozen(eq=False)
class FileScan:
    """The records of one file.

    Attributes:
        compression: "", "GZIP" or "ZLIB", as TensorFlow calls them.
        lengths: of the content of each record.
        damage: where the file cannot be read further; None if it is whole.
    """

    compression: str
    lengths: Lengths
    damage: Damage | None = None
    offsets: Lengths = field(init=False)

    @offsets.default
    def _add_up(self) -> Lengths:
        """Return the byte at which each record begins."""
        offsets = np.zeros(len(self.lengths), np.int64)
        np.cumsum(self.lengths[:-1] + AROUND, out=offsets[1:])
        return offsets


def scan_file(path: str, compression: str | None, on_found: Callable[[int], object]) -> FileScan:
    """Return the records of a file.

    Args:
        path: the file.
        compression: "", "GZIP" or "ZLIB"; None to detect it by the content.
        on_found: is called with the number of further records found.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a path is text or bytes here, as the system has it)
        descriptor = file.fileno()
        kind = _compression(os.pread(descriptor, _CHUNK, 0)) if compression is None else compression
        if kind:
            return _scan_compressed(path, kind, descriptor, on_found)
        return _scan_plain(descriptor, on_found)


def checksums(headers: npt.NDArray[np.void]) -> npt.NDArray[np.uint32]:
    """Return the right checksums of the lengths of some headers: CRC-32C, rotated and shifted."""
    crc = np.full(len(headers), 0xFFFFFFFF, np.uint32)
    octets = np.ascontiguousarray(headers["length"]).view(np.uint8).reshape(-1, 8)
    for octet in octets.T:
        crc = _CRC_TABLE[(crc ^ octet) & 0xFF] ^ (crc >> 8)
    crc = ~crc
    rotated: npt.NDArray[np.uint32] = ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)
    return rotated


def _crc_table() -> npt.NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(0x82F63B78), np.uint32(0))
    return table


_CRC_TABLE = _crc_table()


class _Headers:
    """The headers of a file in their order."""

    def __init__(self, on_found: Callable[[int], object]) -> None:
        self._on_found = on_found
        self._new = bytearray()
        self._lengths: list[npt.NDArray[np.uint64]] = []
        self.damaged = False

    def add(self, content: bytes | bytearray) -> tuple[int, int]:
        """Add the headers in a content that begins with one; return where the next one is, and how many were added."""
        at, new, added = 0, self._new, 0
        last = len(content) - HEADER_SIZE
        while at <= last:
            new += content[at : at + HEADER_SIZE]
            at += int.from_bytes(content[at : at + 8], "little") + AROUND
            added += 1
        if len(new) >= _HEADERS_IN_BLOCK * HEADER_SIZE:
            self.check()
        return at, added

    def check(self) -> None:
        """Compare lengths and checksums; headers from a damaged length on are dropped."""
        headers = np.frombuffer(bytes(self._new), _HEADER)
        self._new.clear()
        if self.damaged:
            return
        wrong = np.flatnonzero(checksums(headers) != headers["checksum"])
        self.damaged = len(wrong) > 0
        good = headers["length"][: wrong[0] if self.damaged else None]
        self._lengths.append(good)
        self._on_found(len(good))

    def lengths(self) -> npt.NDArray[np.uint64]:
        """Return the lengths before the first damaged one, unsigned as the file has them: the last may be anything."""
        self.check()
        return np.concatenate([np.zeros(0, np.uint64), *self._lengths])


def _compression(start: bytes) -> str:
    """Return the compression of a file, by its first bytes."""
    if _begins_with_header(start):
        return ""
    if start.startswith(_GZIP_START):
        return "GZIP"
    decoder = zlib.decompressobj()
    try:
        content = decoder.decompress(start, HEADER_SIZE)
    except zlib.error:
        return ""
    return "ZLIB" if _begins_with_header(content) or (decoder.eof and not content) else ""


def _begins_with_header(content: bytes) -> bool:
    header = np.frombuffer(content[:HEADER_SIZE], _HEADER) if len(content) >= HEADER_SIZE else np.zeros(0, _HEADER)
    return len(header) == 1 and bool((checksums(header) == header["checksum"]).all())


def _scan_plain(descriptor: int, on_found: Callable[[int], object]) -> FileScan:
    size = os.fstat(descriptor).st_size
    headers, offset = _Headers(on_found), 0
    length = _MANY
    while offset < size and not headers.damaged:
        step, added = headers.add(os.pread(descriptor, length, offset))
        if not added:
            break
        offset += step
        length = HEADER_SIZE if step > added * _LARGE else _MANY
    lengths, offset, reason = _whole_records(headers, size)
    return FileScan("", lengths, Damage(offset, reason, size - offset) if reason else None)


def _scan_compressed(path: str, compression: str, descriptor: int, on_found: Callable[[int], object]) -> FileScan:
    headers, trouble = _Headers(on_found), ""
    buffer, skip, size = bytearray(), 0, 0
    try:
        for chunk in _decompressed(descriptor):
            size += len(chunk)
            buffer += chunk[skip:]
            skip = max(0, skip - len(chunk))
            at, _ = headers.add(buffer)
            skip += max(0, at - len(buffer))
            del buffer[:at]
            if headers.damaged:
                break
    except (zlib.error, EOFError) as error:
        trouble = str(error)
    lengths, offset, reason = _whole_records(headers, size)
    if not trouble and not reason:
        return FileScan(compression, lengths)
    if trouble:
        # TensorFlow reads in pieces of its own, and stops at the beginning of a damaged one.
        lengths = lengths[: _readable(path, compression)]
        offset = int((lengths + AROUND).sum())
        reason = (
            f"is cut off or damaged: it cannot be decompressed from about byte {size} of its content on ({trouble})"
        )
    return FileScan(compression, lengths, Damage(offset, reason, None))


def _whole_records(headers: _Headers, size: int) -> tuple[Lengths, int, str]:
    """Return the lengths of the records before the first damaged one, its offset, and what is wrong with it."""
    unsigned = headers.lengths()
    before = unsigned[:-1].astype(np.int64)  # what lies before another header is shorter than the file
    begin = int((before + AROUND).sum())
    end = begin + AROUND + int(unsigned[-1]) if len(unsigned) else 0
    if end > size:
        reason = f"is cut off: its record at byte {begin} goes to byte {end}, and the file ends at byte {size}"
        return before, begin, reason
    lengths = unsigned.astype(np.int64)
    if headers.damaged:
        return lengths, end, f"is damaged: the length of its record at byte {end} does not match its checksum"
    if end < size:
        return lengths, end, f"is cut off: it ends at byte {size}, in the header of its record at byte {end}"
    return lengths, end, ""


def _decompressed(descriptor: int) -> Iterator[bytes]:
    """Yield the content of a compressed file in pieces; several streams in a row are one.

    Raises:
        EOFError: if the file ends before the stream does.
        zlib.error: if the stream is damaged.
    """
    decoder, offset = zlib.decompressobj(_ANY_ZLIB), 0
    while data := os.pread(descriptor, _CHUNK, offset):
        offset += len(data)
        while data:
            if decoder.eof:
                decoder = zlib.decompressobj(_ANY_ZLIB)
            yield decoder.decompress(data, _CHUNK)
            data = decoder.unconsumed_tail or decoder.unused_data
    yield decoder.flush()
    if offset and not decoder.eof:
        raise EOFError("its end is missing")


def _readable(path: str, compression: str) -> int:
    """Return how many records TensorFlow reads of a damaged file."""
    import tensorflow as tf  # noqa: PLC0415  (for damaged files only: commands on others start without it)

    from mox_core.sdk import outside_of_graphs  # noqa: PLC0415  (as above)

    with outside_of_graphs():
        kind: Any = compression
        records = tf.data.TFRecordDataset(path, compression_type=kind).ignore_errors()
        return int(records.reduce(np.int64(0), lambda number, _: number + 1))
