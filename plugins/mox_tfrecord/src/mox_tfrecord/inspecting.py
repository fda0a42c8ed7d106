"""A description of a file of records, for files of unknown layout."""

from __future__ import annotations

import collections
import contextlib
import gzip
import io
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from mox_core.datasets.checks import check_is_here
from mox_core.datasets.folders import no_file
from mox_core.datasets.image_bytes import format_of
from mox_core.errors import DataError, UsageError
from mox_core.name_lists import number_of
from mox_core.quoting import shown
from mox_tfrecord.lightexamples import parse_example
from mox_tfrecord.scanning import HEADER_SIZE, scan_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

    from mox_tfrecord.scanning import FileScan

_SAMPLE = 100  # records whose features are compared
_WIDTH = 60  # characters of a value
_VALUES = 8  # of a list
_BYTES = 12  # of what is neither text nor an image
_PIECE = 2**20


@frozen
class Report:
    """The result of `inspect_file`.

    Attributes:
        num_records: number of records, up to the damage if there is one.
        is_damaged: whether the file cannot be read to its end.
        text: the description.
    """

    num_records: int
    is_damaged: bool
    text: str


def inspect_file(path: str, *, record: int | None = None) -> Report:
    """Describe a file of records, by the headers of all records and the content of some.

    Args:
        path: the file, compressed or not.
        record: the record to show, counted from 0; None for the features of all.

    Raises:
        DataError: if there is no such file.
        UsageError: if there is no such record.
    """
    check_is_here("the file", path)
    if Path(path).is_dir():
        raise DataError(f"{path!r} is a folder; name the files in it.")
    if reason := no_file(path):
        absent = not os.path.lexists(path)
        raise DataError(f"{path!r} does not exist." if absent else f"{path!r} cannot be read: {reason}.")
    try:
        scan = scan_file(path, None, lambda _: None)
        return Report(len(scan.lengths), scan.damage is not None, "\n".join(_describe(path, scan, record)))
    except OSError as error:
        raise DataError(f"{path!r} cannot be read: {error}.") from error


def _describe(path: str, scan: FileScan, record: int | None) -> Iterator[str]:
    num_records = len(scan.lengths)
    yield shown(path)
    size = _size(Path(path).stat().st_size)
    yield f"  {number_of(num_records, 'record')}, {size}, {scan.compression or 'not compressed'}"
    if scan.damage is not None:
        hint = "The records are those before." if num_records else "Is it a file of records?"
        yield f"  DAMAGED: it {scan.damage.reason}. {hint}"
    if record is not None:
        if not 0 <= record < num_records:
            raise UsageError(f"record is {record}, and {path!r} has {num_records}, counted from 0.")
        yield from _describe_record(record, next(_contents(path, scan, [record])))
    elif num_records:
        contents = list(_contents(path, scan, range(0, num_records, -(-num_records // _SAMPLE))))
        looked_at = "all records" if len(contents) == num_records else f"{len(contents)} of {num_records} records"
        yield from _describe_features(contents, looked_at)


def _describe_record(number: int, content: bytes) -> Iterator[str]:
    features = parse_example(content)
    if features is None:
        yield f"  record {number} is no tf.train.Example: {_shorten_bytes(content)}"
        return
    yield f"  record {number}, {_size(len(content))}:"
    yield from _table(
        (shown(name), kind, str(len(values)), _shorten(values)) for name, (kind, values) in features.items()
    )


def _describe_features(contents: list[bytes], looked_at: str) -> Iterator[str]:
    """Yield a table of the features of some records."""
    examples = [features for features in map(parse_example, contents) if features is not None]
    if len(examples) < len(contents):
        yield f"  {len(contents) - len(examples)} of {len(contents)} records are no tf.train.Example"
    if not examples:
        yield f"  record 0: {_shorten_bytes(contents[0])}"
        return
    found: dict[tuple[str, str], list[list[Any]]] = collections.defaultdict(list)
    for features in examples:
        for name, (kind, values) in features.items():
            found[name, kind].append(values)
    same = all(len(all_values) == len(examples) for all_values in found.values())
    yield f"  features, {'the same' if same else 'NOT the same'} in {looked_at}:"
    yield from _table(
        (
            *(shown(name), kind, _range([len(values) for values in all_values]), _shorten(all_values[0])),
            *(() if same else (f"{len(all_values)} of {len(examples)}",)),
        )
        for (name, kind), all_values in sorted(found.items())
    )


def _contents(path: str, scan: FileScan, numbers: Iterable[int]) -> Iterator[bytes]:
    """Yield the content of some records."""
    with _open(path, scan.compression) as file:
        for number in numbers:
            file.seek(scan.offsets[number] + HEADER_SIZE)
            yield file.read(scan.lengths[number])


def _open(path: str, compression: str) -> IO[bytes] | gzip.GzipFile:
    if compression == "GZIP":
        return gzip.open(path)
    if compression == "ZLIB":
        decoder, content = zlib.decompressobj(), io.BytesIO()
        with Path(path).open("rb") as file, contextlib.suppress(zlib.error):  # damage was found before
            for piece in iter(lambda: file.read(_PIECE), b""):
                content.write(decoder.decompress(piece))
        return content
    return Path(path).open("rb")


def _range(numbers: list[int]) -> str:
    least, most = min(numbers), max(numbers)
    return str(least) if least == most else f"{least} to {most}"


def _table(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield a heading and rows of four columns, or of five, in lines."""
    rows = list(rows)
    heading = ("name", "type", "values", "first value", "in")[: max(map(len, rows), default=0)]
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    for row in (heading, *rows):
        yield "    " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _shorten(values: list[Any]) -> str:
    """Return the first values of a feature."""
    if len(values) == 1:
        return _shorten_one(values[0])
    text = ", ".join(map(_shorten_one, values[:_VALUES]))
    return _cut(f"[{text}{', ...' if len(values) > _VALUES else ''}]")


def _shorten_one(value: bytes | float) -> str:
    if isinstance(value, bytes):
        return _shorten_bytes(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shorten_bytes(value: bytes) -> str:
    """Return text as it is, and a description by the first bytes for everything else."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and (text or not value):
        return _cut(repr(text))
    if found := format_of(value):
        return f"{found}, {_size(len(value))}"
    return f"{value[:_BYTES]!r}{'...' if len(value) > _BYTES else ''}, {_size(len(value))}"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _size(num_bytes: int) -> str:
    for exponent, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if num_bytes >= 1000**exponent:
            return f"{num_bytes / 1000**exponent:.1f} {unit}"
    return f"{num_bytes} bytes"
