"""Counting records by their headers, and remembering the counts."""

import gzip
import logging
import os
import threading
import zlib

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.run_folder import run_folder_scope
from mox_core.errors import DataError, UsageError
from mox_tfrecord import index as index_module
from mox_tfrecord.index import make_index
from mox_tfrecord.inspecting import inspect_file
from mox_tfrecord.scanning import checksums, scan_file


@pytest.fixture(autouse=True)
def _forget():
    index_module._known.clear()


def count(path, compression=None):
    return scan_file(str(path), compression, lambda _: None)


def test_the_checksum_of_a_length_is_what_tensorflow_writes(tmp_path):
    path = str(tmp_path / "a.tfrecord")
    lengths = [0, 1, 255, 256, 70_000]
    with tf.io.TFRecordWriter(path) as writer:
        for length in lengths:
            writer.write(b"x" * length)
    content = (tmp_path / "a.tfrecord").read_bytes()
    headers, at = [], 0
    for length in lengths:
        headers.append(content[at : at + 12])
        at += length + 16
    table = np.frombuffer(b"".join(headers), np.dtype([("length", "<u8"), ("checksum", "<u4")]))
    assert table["length"].tolist() == lengths
    assert checksums(table).tolist() == table["checksum"].tolist()


@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
def test_lengths_and_offsets_are_those_of_the_records(tmp_path, compression):
    lengths = [17, 0, 3000, 5] * 1500  # more headers than are checked at a time
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type=compression)) as writer:
        for length in lengths:
            writer.write(os.urandom(length))
    scan = count(path)
    assert scan.compression == compression
    assert scan.damage is None
    assert scan.lengths.tolist() == lengths
    assert scan.offsets[:4].tolist() == [0, 33, 49, 3065]


def test_an_empty_file_has_no_record(tmp_path):
    (tmp_path / "a").touch()
    with tf.io.TFRecordWriter(str(tmp_path / "b"), tf.io.TFRecordOptions(compression_type="GZIP")):
        pass
    assert [len(count(tmp_path / name).lengths) for name in "ab"] == [0, 0]


def test_a_file_without_a_record_is_named_beside_others_that_have_some(write, caplog):
    folder = write([3])
    (folder / "part-1.tfrecord").touch()
    with tf.io.TFRecordWriter(str(folder / "part-2.tfrecord"), tf.io.TFRecordOptions(compression_type="GZIP")):
        pass
    meta = mox.BaseTFRecordMetadata(folder, "part-*")
    assert meta.num_samples == 3
    names = [str(folder / f"part-{number}.tfrecord") for number in (1, 2)]
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        f"{names[0]!r}, {names[1]!r} hold no record."
    ]


def test_several_gzip_streams_in_one_file_are_counted_as_tensorflow_reads_them(write):
    path = write([30], compression="GZIP") / "part-0.tfrecord"
    path.write_bytes(path.read_bytes() * 2)
    assert len(count(path).lengths) == 60
    assert sum(1 for _ in tf.data.TFRecordDataset(str(path), "GZIP")) == 60


def header_of(length):
    """A header whose checksum is right: what `checksums` gives is compared with TensorFlow's above."""
    header = np.zeros(1, np.dtype([("length", "<u8"), ("checksum", "<u4")]))
    header["length"] = length
    header["checksum"] = checksums(header)
    return header.tobytes()


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zlib.compress])
@pytest.mark.parametrize("length", [2**40, 2**62, 2**63 - 16, 2**63 - 1, 2**63, 2**64 - 17, 2**64 - 16, 2**64 - 1])
def test_a_length_is_unsigned_however_large_it_is(write, tmp_path, length, compress):
    before = (write([3]) / "part-0.tfrecord").read_bytes()
    path = tmp_path / "crafted"
    path.write_bytes(compress(before + header_of(length) + bytes(100)))
    size = len(before)
    scan = count(path)
    assert len(scan.lengths) == 3
    assert scan.damage.offset == size
    assert scan.damage.reason == (
        f"is cut off: its record at byte {size} goes to byte {size + length + 16}, and the file ends at byte "
        f"{size + 112}"
    )
    assert scan.damage.reason in inspect_file(str(path)).text
    path.write_bytes(compress(header_of(length)))
    assert f"its record at byte 0 goes to byte {length + 16}, and" in count(path).damage.reason


@pytest.mark.parametrize(
    ("end", "records", "reason"),
    [
        (-1, 9, r"is cut off: its record at byte 1044 goes to byte 1160, and the file ends at byte 1159"),
        (1044 + 13, 9, r"is cut off: its record at byte 1044 goes to byte 1160, and the file ends at byte 1057"),
        (1044 + 5, 9, r"is cut off: it ends at byte 1049, in the header of its record at byte 1044"),
    ],
)
def test_a_cut_off_record_is_told_with_its_place(tmp_path, end, records, reason):
    path = tmp_path / "a"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(10):
            writer.write(b"x" * 100)  # 116 bytes with what is around them
    path.write_bytes(path.read_bytes()[:end])
    scan = count(path)
    assert (len(scan.lengths), scan.damage.reason) == (records, reason)
    assert scan.damage.offset == 1044
    assert scan.damage.lost_bytes == path.stat().st_size - 1044


def test_what_is_lost_behind_a_damaged_length_is_told(tmp_path):
    path = tmp_path / "a"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(100):
            writer.write(b"x" * 100)
    content = bytearray(path.read_bytes())
    content[116 * 60 + 2] ^= 1
    path.write_bytes(content)
    index = make_index([str(path)], None)
    assert len(index) == 60
    (loss,) = index.losses()
    assert loss == (
        f"{str(path)!r} is damaged: the length of its record at byte 6960 does not match its checksum. "
        "60 records before that can be read, and 4640 bytes (about 40 records) cannot"
    )


def test_a_cut_off_gzip_file_is_noticed_which_tensorflow_does_not(tmp_path):
    path = tmp_path / "a"
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for _ in range(100):
            writer.write(os.urandom(1000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    scan = count(path)
    assert "its end is missing" in scan.damage.reason
    readable = sum(1 for _ in tf.data.TFRecordDataset(str(path), "GZIP").ignore_errors())
    assert 40 < len(scan.lengths) <= min(50, readable)


def test_gzip_of_another_writer_and_a_forced_compression(write, tmp_path):
    plain = (write([25]) / "part-0.tfrecord").read_bytes()
    (tmp_path / "a").write_bytes(gzip.compress(plain))
    (tmp_path / "b").write_bytes(zlib.compress(plain, 9))
    assert [(count(tmp_path / name).compression, len(count(tmp_path / name).lengths)) for name in "ab"] == [
        ("GZIP", 25),
        ("ZLIB", 25),
    ]
    assert "does not match its checksum" in count(tmp_path / "a", "").damage.reason


def test_the_number_is_counted_and_said_only_where_it_is_not_given(write, said):
    folder = write([7, 5])
    meta = mox.BaseTFRecordMetadata(folder, "part-*.tfrecord", num_samples=12)
    assert meta.num_samples == 12
    assert not said
    assert mox.BaseTFRecordMetadata(folder, "part-*.tfrecord").num_samples == 12
    assert said[0] == "INFO: Find tfrecord files. Using tfrecord files in this job."
    assert said[1].startswith("INFO: Automatically extracting num_samples from tfrecord.")
    assert said[2:] == ["INFO: Total number of samples is 12"]


def test_slow_files_are_scanned_in_parallel_and_a_line_says_how_far_it_is(write, monkeypatch):
    folder = write([3, 4, 5])
    paths = [str(folder / f"part-{number}.tfrecord") for number in range(3)]
    others, said = threading.Barrier(2), threading.Event()

    class Watching(logging.Handler):
        def emit(self, record):
            if record.getMessage() == "Counting records: 0 of 3 files are read, 3 records so far":
                said.set()

    def slow(path, compression, tell):
        scan = scan_file(path, compression, tell)
        if path != paths[0]:
            others.wait(timeout=60)  # passes only where both run at a time
        else:
            assert said.wait(timeout=60)
        return scan

    monkeypatch.setattr(index_module, "scan_file", slow)
    monkeypatch.setattr(index_module, "_SECONDS_BETWEEN_LINES", 0.01)
    tf.get_logger().addHandler(handler := Watching())
    try:
        assert len(make_index(paths, None)) == 12
    finally:
        tf.get_logger().removeHandler(handler)


def test_a_given_number_that_is_wrong_is_told_when_records_are_read(write, numbers, read, said):
    dataset = numbers(write([5]), num_samples=9, num_epochs=1)
    assert len(read(dataset)) == 5
    assert said == ["WARNING: num_samples is 9, and the files hold 5 records: all of these are read."]


def test_counts_are_remembered_beside_the_run_until_a_file_changes(write, tmp_path, monkeypatch):
    folder, log_dir = write([4, 6]), tmp_path / "log"
    paths = [str(folder / f"part-{number}.tfrecord") for number in (0, 1)]
    scanned = []

    def watched(path, *arguments):
        scanned.append(path)
        return scan_file(path, *arguments)

    monkeypatch.setattr(index_module, "scan_file", watched)

    def in_another_process():
        scanned.clear()
        index_module._known.clear()
        with run_folder_scope(log_dir):
            return len(make_index(paths, None)), list(scanned)

    assert in_another_process() == (10, paths)
    assert in_another_process() == (10, [])
    with tf.io.TFRecordWriter(paths[1]) as writer:
        writer.write(b"only one")
    assert in_another_process() == (5, [paths[1]])
    assert in_another_process() == (5, [])
    (log_dir / ".mox" / "tfrecords.npz").write_bytes(b"PK not an archive")
    assert in_another_process() == (5, paths)
    assert in_another_process() == (5, [])


def test_a_cache_with_a_byte_flipped_is_made_anew_or_right(write, tmp_path):
    folder, log_dir = write([4, 6]), tmp_path / "log"
    paths = [str(folder / f"part-{number}.tfrecord") for number in (0, 1)]

    def lengths():
        index_module._known.clear()
        with run_folder_scope(log_dir):
            return [scan.lengths.tolist() for scan in make_index(paths, None).scans]

    whole = lengths()
    cache = log_dir / ".mox" / "tfrecords.npz"
    content = cache.read_bytes()
    for place in range(0, len(content), 3):
        cache.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        assert lengths() == whole, place
    for spoiled in (b"", content[: len(content) // 2], b"[]", content + b"more"):
        cache.write_bytes(spoiled)
        assert lengths() == whole
    cache.unlink()
    os.mkfifo(cache)
    assert lengths() == whole


def test_a_cache_that_cannot_be_read_is_told(write, tmp_path, said):
    folder = write([4])
    cache = tmp_path / "log" / ".mox" / "tfrecords.npz"
    for _ in range(2):
        index_module._known.clear()
        with run_folder_scope(tmp_path / "log"):
            make_index([str(folder / "part-0.tfrecord")], None)
        cache.write_bytes(b"PK not an archive")
    assert said[0] == (
        f"WARNING: {str(cache)!r}, where the counts of records are kept, cannot be read (BadZipFile: File is not a zip "
        "file): they are counted anew."
    )


def test_outside_of_a_run_nothing_is_written(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write([3])
    before = sorted(tmp_path.rglob("*"))
    assert mox.BaseTFRecordMetadata(folder, "*").num_samples == 3
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_file_is_not_remembered_as_whole(write, tmp_path):
    folder = write([4])
    path = folder / "part-0.tfrecord"
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        index_module._known.clear()
        with run_folder_scope(tmp_path / "log"):
            assert len(make_index([str(path)], None).losses()) == 1


def test_files_that_are_not_there_are_told_early(write, tmp_path):
    folder = write([1])
    with pytest.raises(DataError, match=r"is named like file_pattern 'train-\*'\. It holds 'part-0\.tfrecord'\.$"):
        mox.BaseTFRecordMetadata(folder, "train-*")
    with pytest.raises(DataError, match=r"there is no folder .*nowhere'. It is to hold the records"):
        mox.BaseTFRecordMetadata(tmp_path / "nowhere", "*")
    with pytest.raises(UsageError, match=r"num_samples of BaseTFRecordMetadata is 0; it must be None or a whole"):
        mox.BaseTFRecordMetadata(folder, "*", num_samples=0)
    (folder / "part-0.tfrecord").write_bytes(b"")
    with pytest.raises(DataError, match=r"the files hold no record that can be read: '.*part-0\.tfrecord'$"):
        _ = mox.BaseTFRecordMetadata(folder, "*").num_samples
    (folder / "part-0.tfrecord").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"that can be read: '.*part-0\.tfrecord'\. '.*' is cut off: it ends at byte 6"):
        _ = mox.BaseTFRecordMetadata(folder, "*").num_samples


def test_redirect_dir_holds_the_same_files(write, tmp_path):
    folder, other = write([2, 3]), tmp_path / "other"
    other.mkdir()
    (other / "part-0.tfrecord").write_bytes((folder / "part-0.tfrecord").read_bytes())
    with pytest.raises(DataError, match=r"redirect_dir lacks '.*other/part-1\.tfrecord' \(1 of 2 files\)"):
        mox.BaseTFRecordMetadata(folder, "*", redirect_dir=other)
    meta = mox.BaseTFRecordMetadata(folder, "*-0*", redirect_dir=other)
    assert meta.files == [str(other / "part-0.tfrecord")]
