"""Sources of records: by index, or as a stream from compressed files.

Runs of consecutive records are read at a time, which is as fast as TFRecordDataset. TensorFlow reads them, and compares
the checksums.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tensorflow as tf
from attrs import frozen

from mox_core.datasets.folders import unreadable
from mox_core.sdk import (
    Blocks,
    Features,
    Fetch,
    SampleSource,
    captured_constant,
    features_of,
    fold,
    no_autograph,
    parallel_reads,
    zeros_of_spec,
)
from mox_core.stores.folder import is_remote
from mox_tfrecord.scanning import AROUND

if TYPE_CHECKING:
    from mox_core.sdk import BadSampleReport, Dataset, Order
    from mox_tfrecord.index import RecordIndex

_BLOCK_BYTES = 2**20
_MOST_IN_BLOCK = 4096  # small records take more memory than their bytes
_READ_THROUGH = 2**17  # bytes that are read faster than a file is opened anew
_FILES_AT_A_TIME = 8
_BUFFER = 2**18


class Records:
    """The records of an index, read by TensorFlow ops.

    Args:
        index: the records.
        paths: the files to read, in the order of the index: the files of the index, or copies.

    Attributes:
        index: the records.
        paths: the files to read.
    """

    def __init__(self, index: RecordIndex, paths: list[str]) -> None:
        self.index = index
        self.paths = paths
        self.compressed = any(scan.compression for scan in index.scans)
        offsets = [scan.offsets for scan in index.scans]
        self._paths = captured_constant([os.fsencode(path) for path in paths], tf.string)
        self._compressions = captured_constant([scan.compression for scan in index.scans], tf.string)
        self._starts = captured_constant(index.starts, tf.int64)
        self._offsets = captured_constant(np.concatenate(offsets), tf.int64)
        self._lengths = captured_constant(np.concatenate([scan.lengths for scan in index.scans]), tf.int64)
        mean = max(1, int(index.num_bytes // max(1, len(index))))
        self._in_megabyte = min(max(1, _BLOCK_BYTES // mean), _MOST_IN_BLOCK)
        self._read_through = max(1, _READ_THROUGH // mean)

    def one(self, number: tf.Tensor) -> tf.Tensor:
        """Return the content of the record with a number."""
        if self.compressed:
            file = self._file(number)
            records = self._of_file(file).skip(number - tf.gather(self._starts, file))
        else:
            records = self._from(number, number)
        content: tf.Tensor = records.take(1).get_single_element()
        return content

    def unreadable(self, place: int) -> str:
        """Return why the system does not let a file be read; '' if it does."""
        original, copy = self.index.paths[place], self.paths[place]
        if not is_remote(original):
            return unreadable(original)
        reason = unreadable(copy)
        return reason and f"its copy {copy!r}: {reason}"

    @property
    def blocks(self) -> Blocks:
        """How records are read many at a time."""
        read = tf.function(self.many, input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False)
        return Blocks(size=self._in_megabyte, contents=[tf.TensorSpec([], tf.string)], read=read)

    def many(self, numbers: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor]]:
        """Return the places of those of some records (int64 [n]) that can be read, and (their contents,).

        Runs of consecutive records are read at once, and short gaps between records are read with them.
        """
        files = tf.cast(tf.searchsorted(self._starts, numbers, side="right"), tf.int64) - 1
        gaps = numbers[1:] - numbers[:-1]
        begins_run = (gaps < 1) | (gaps > self._read_through) | (files[1:] != files[:-1])
        begins_run = tf.concat([tf.ones_like(numbers[:1], tf.bool), begins_run], 0)
        begins = tf.where(begins_run)[:, 0]
        lasts = tf.gather(numbers, tf.concat([begins[1:], tf.shape(numbers, tf.int64)], 0)[: tf.size(begins)] - 1)
        firsts = tf.gather(numbers, begins)
        lengths = lasts - firsts + 1
        run = tf.cumsum(tf.cast(begins_run, tf.int64)) - 1
        places = numbers - tf.gather(firsts, run) + tf.gather(tf.cumsum(lengths, exclusive=True), run)
        all_read = self._runs(firsts, lasts)
        number = tf.size(numbers, tf.int64)

        def wanted() -> tuple[tf.Tensor, tuple[tf.Tensor]]:
            only = tf.cond(tf.size(all_read, tf.int64) == number, lambda: all_read, lambda: tf.gather(all_read, places))
            return tf.range(number), (only,)

        is_whole = tf.size(all_read, tf.int64) == tf.reduce_sum(lengths)
        return tf.cond(is_whole, wanted, lambda: self._without_bad(numbers))

    def _runs(self, firsts: tf.Tensor, lasts: tf.Tensor) -> tf.Tensor:
        """Return the contents of runs of records; of one with a bad record, of those before it."""

        @no_autograph
        def run(bounds: tf.Tensor) -> Dataset:
            first, last = tf.unstack(bounds)
            return self._from(first, last).take(last - first + 1).ignore_errors()

        runs = tf.data.Dataset.from_tensor_slices(tf.stack([firsts, lasts], 1)).flat_map(run)
        together = runs.batch(tf.maximum(tf.reduce_sum(lasts - firsts + 1), 1))
        nothing = tf.data.Dataset.from_tensors(tf.zeros([0], tf.string))
        contents: tf.Tensor = together.concatenate(nothing).take(1).get_single_element()
        return contents

    def _without_bad(self, numbers: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor]]:
        """Return what `many` does, where a record may be bad: TensorFlow reads nothing of a file behind it."""
        number = tf.size(numbers, tf.int64)

        @no_autograph
        def one(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return place, self.one(tf.gather(numbers, place))

        alone = tf.data.Dataset.range(number).map(one, num_parallel_calls=parallel_reads()).ignore_errors()
        none = (tf.zeros([0], tf.int64), tf.zeros([0], tf.string))
        read = alone.batch(tf.maximum(number, 1)).concatenate(tf.data.Dataset.from_tensors(none))
        found, contents = read.take(1).get_single_element()
        return found, (contents,)

    def of_file(self, file: tf.Tensor) -> Dataset:
        """Return (number, content) of the records of a file, from its beginning."""
        start, stop = tf.gather(self._starts, file), tf.gather(self._starts, file + 1)
        return tf.data.Dataset.zip((tf.data.Dataset.range(start, stop), self._of_file(file).take(stop - start)))

    def _file(self, number: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.searchsorted(self._starts, [number], side="right")[0] - 1, tf.int64)

    def _of_file(self, file: tf.Tensor) -> Dataset:
        variant = tf.raw_ops.TFRecordDataset(
            filenames=tf.gather(self._paths, file),
            compression_type=tf.gather(self._compressions, file),
            buffer_size=tf.constant(_BUFFER, tf.int64),
        )
        return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))

    def _from(self, first: tf.Tensor, last: tf.Tensor) -> Dataset:
        """Return the contents of the records from a number on, to the end of the file; read as those up to another."""
        end = tf.gather(self._offsets, last) + tf.gather(self._lengths, last) + AROUND
        size = end - tf.gather(self._offsets, first)
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=[tf.gather(self._paths, self._file(first))],
            compression_type="",
            buffer_size=tf.minimum(size, _BUFFER),
            byte_offsets=[tf.gather(self._offsets, first)],
        )
        return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))


@frozen(kw_only=True)
class StreamSource(SampleSource):
    """Records of compressed files, which have no random access.

    A shuffled epoch has the files in an order of its own, interleaves some of them, and shuffles in a buffer. Its order
    is a function of seed and epoch. A resumed run reads the epoch again up to its position, and each of several
    workers reads the whole epoch for its own samples.

    Attributes:
        records: the records.
        buffer_size: size of the shuffle buffer, in records.
    """

    can_fuse: ClassVar[bool] = False
    records: Records
    buffer_size: int

    def sample_at(self, position: tf.Tensor, order: Order) -> Features:
        """Return the features of the record at a position, by reading up to it."""
        place = position + order.worker
        epoch, offset = tf.math.floordiv(place, self.num_samples), tf.math.floormod(place, self.num_samples)
        number, content = self._contents(epoch, order).skip(offset).take(1).get_single_element()
        return self.sample_of(number, content)

    def name_at(self, position: int, order: Order) -> str:
        """Return the name of the record at a position, by reading up to it."""
        epoch, offset = divmod(position + order.worker, self.num_samples)
        with tf.init_scope():
            for number, _ in self._contents(tf.constant(epoch, tf.int64), order).skip(offset).take(1):
                return self.describe(int(number))
        return f"a record at the end of epoch {epoch}"

    def system_error_at(self, position: int, order: Order) -> str:
        """Return why the system does not let one of the files be read: which one a record is in takes reading it."""
        del position, order
        errors = ((path, self.records.unreadable(place)) for place, path in enumerate(self.records.index.paths))
        return next((f"{path!r}: {error}" for path, error in errors if error), "")

    def good_samples(self, fetch: Fetch, start: int, order: Order, report: BadSampleReport) -> Dataset:
        """Return what `SampleSource.good_samples` does."""
        number, begin_own = self.num_samples, start + order.worker

        @no_autograph
        def epoch(place: tf.Tensor) -> Dataset:
            begin = place * number
            first, end = (order.first_from(each, start) for each in (begin, begin + number))
            skipped = first + order.worker - begin
            contents = tf.data.Dataset.zip(
                (
                    tf.data.Dataset.range(first, end, order.workers),
                    self._contents(place, order).skip(skipped).shard(order.workers, 0),
                )
            )
            alone = no_autograph(lambda position, record: fetch(position, record[1]))
            samples = contents.map(alone, num_parallel_calls=parallel_reads())
            unused = tf.nest.map_structure(zeros_of_spec, features_of(samples))
            # After the last sample comes one that does not count: it shows how far the epoch was read.
            end_mark = tf.data.Dataset.from_tensors(0).map(no_autograph(lambda _: (end + order.workers, unused)))

            @no_autograph
            def watch(expected: tf.Tensor, after: tf.Tensor, features: Features) -> Any:
                report_gap = functools.partial(self._report_gap, order, report)
                reported = tf.cond(
                    after - order.workers == expected,
                    lambda: True,
                    lambda: report.call_op(report_gap, [expected, after]),
                )
                with tf.control_dependencies([reported]):
                    return tf.identity(after), (after, features)

            watched = samples.ignore_errors().concatenate(end_mark).scan(first, no_autograph(lambda s, e: watch(s, *e)))
            return watched.filter(no_autograph(lambda *element: element[0] <= end))

        last = tf.int64.max if self.num_epochs is None else self.num_epochs
        return tf.data.Dataset.range(begin_own // number, last).flat_map(epoch)

    def _contents(self, epoch: tf.Tensor, order: Order) -> Dataset:
        """Return (number, content) of all records in the order of an epoch."""
        files = tf.range(len(self.records.index.paths), dtype=tf.int64)
        if not self.shuffle:
            return tf.data.Dataset.from_tensor_slices(files).flat_map(self.records.of_file)
        key = tf.stack([tf.constant(fold(order.seed, "files"), tf.int64), epoch])
        files = tf.random.experimental.stateless_shuffle(files, key)  # type: ignore[attr-defined]  # not in the stubs
        mixed = tf.data.Dataset.from_tensor_slices(files).interleave(
            self.records.of_file, cycle_length=_FILES_AT_A_TIME, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        # Not Dataset.shuffle: its order depends on more than the seed that it is given.
        variant = tf.raw_ops.ShuffleDataset(
            input_dataset=tf.data.experimental.to_variant(mixed),
            buffer_size=self.buffer_size,
            seed=tf.constant(fold(order.seed, "records"), tf.int64),
            seed2=epoch,
            output_types=[tf.int64, tf.string],
            output_shapes=[[], []],
            reshuffle_each_iteration=False,
        )
        return tf.data.experimental.from_variant(variant, mixed.element_spec)

    def _report_gap(self, order: Order, report: BadSampleReport, expected: np.int64, after: np.int64) -> bool:
        missing = int(after) - order.workers - int(expected)
        if missing >= self.num_samples:
            report.nothing_read(self, order, int(expected))
        return report.gaps(self, order, np.array([expected]), np.array([after]))
