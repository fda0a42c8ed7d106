"""The order of records, resuming at any position, and records that cannot be read."""

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.input.bad_samples import BadSampleReport
from mox_core.errors import DataError

LENGTHS = [300, 0, 5, 200]  # more than one run of records, none, few
TOTAL = sum(LENGTHS)

both = pytest.mark.parametrize("compression", ["", "GZIP"])


def spoil(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 64
    path.write_bytes(content)


def offset_of(path, number):
    """Where the record begins, found by reading those before it."""
    records = list(tf.data.TFRecordDataset(str(path)).take(number).as_numpy_iterator())
    return sum(len(record) + 16 for record in records)


@both
def test_without_shuffling_records_come_in_the_order_of_the_files(write, numbers, read, compression):
    dataset = numbers(write(LENGTHS, compression=compression, padding=4000), shuffle=False, num_epochs=2)
    found = read(dataset)
    assert [number for _, number in found] == [*range(TOTAL)] * 2
    assert [position for position, _ in found] == list(range(1, 2 * TOTAL + 1))


@both
def test_shuffled_every_epoch_has_each_record_once_in_an_order_of_its_own(write, numbers, read, compression):
    found = [number for _, number in read(numbers(write(LENGTHS, compression=compression), num_epochs=3))]
    epochs = [found[start : start + TOTAL] for start in (0, TOTAL, 2 * TOTAL)]
    assert [sorted(epoch) for epoch in epochs] == [[*range(TOTAL)]] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3
    # Each half of an epoch holds about half of each file.
    assert 60 < sum(number >= 305 for number in epochs[0][: TOTAL // 2]) < 140


@both
@pytest.mark.parametrize("shuffle", [False, True])
def test_reading_goes_on_exactly_at_any_position(write, numbers, read, compression, shuffle):
    dataset = numbers(write(LENGTHS, compression=compression), shuffle=shuffle, num_epochs=2)
    whole = read(dataset)
    for start in (255, TOTAL - 1, TOTAL + 301):
        assert read(dataset, start=start) == whole[start:]
    endless = numbers(dataset.metadata.base_dir, shuffle=shuffle)
    assert read(endless, start=400, limit=400) == whole[400:800]


@both
def test_the_order_depends_on_the_seed_of_the_run_only(write, numbers, read, compression):
    folder = write(LENGTHS, compression=compression)
    first = read(numbers(folder), limit=50)
    tf.random.set_seed(77)
    assert read(numbers(folder), limit=50) == first
    tf.compat.v1.random.set_random_seed(None)
    assert read(numbers(folder), seed=2, limit=50) != first


@both
def test_few_records_go_round(write, numbers, read, compression):
    dataset = numbers(write([2, 1], compression=compression), shuffle=False)
    assert [number for _, number in read(dataset, start=4, limit=7)] == [1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_record_with_a_damaged_content_is_left_out_alone(write, numbers, read, said, shuffle):
    folder = write([100, 100])
    path = folder / "part-1.tfrecord"
    offset = offset_of(path, 30)
    spoil(path, offset + 14)
    report = BadSampleReport()
    found = read(numbers(folder, shuffle=shuffle, num_epochs=2, on_bad_record="skip"), report=report)
    assert sorted(number for _, number in found) == sorted([n for n in range(200) if n != 130] * 2)
    name = f"{path}: record 30, at byte {offset}"
    assert list(report.names) == [name]
    assert said[-1] == (
        f"WARNING: {name!r} cannot be read (damaged, or its content is not what features and handlers say): "
        "it is left out."
    )


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("place", [0, 30, 99])
def test_a_damaged_record_ends_the_run_by_default(write, numbers, batches, shuffle, place):
    folder = write([100])
    path = folder / "part-0.tfrecord"
    offset = offset_of(path, place)
    spoil(path, offset + 14)
    with pytest.raises(DataError) as caught:
        batches(lambda _: numbers(folder, shuffle=shuffle, num_epochs=1).get(["x"]), batch_size=8)
    assert str(caught.value) == (
        f"'{path}: record {place}, at byte {offset}' cannot be read: it is damaged, or its content is not what "
        "features and handlers say."
    )


def test_of_a_file_with_a_damaged_length_the_rest_is_left_out_and_other_files_are_read(write, numbers, read, said):
    folder = write([100, 50])
    path = folder / "part-0.tfrecord"
    offset = offset_of(path, 60)
    spoil(path, offset + 1)
    with pytest.raises(
        DataError, match=r"part-0\.tfrecord' is damaged: the length of its record at byte \d+ does not "
    ):
        numbers(folder).source()
    found = read(numbers(folder, shuffle=False, num_epochs=1, on_bad_record="skip"))
    assert [number for _, number in found] == [*range(60), *range(100, 150)]
    lost = path.stat().st_size - offset
    assert said[-2].endswith(f"60 records before that can be read, and {lost} bytes (about 40 records) cannot.")


def test_of_a_cut_off_file_what_is_whole_is_read(write, numbers, read):
    folder = write([10, 10])
    path = folder / "part-0.tfrecord"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError) as caught:
        numbers(folder).source()
    assert str(caught.value).endswith(
        "(about 1 record) cannot; what else the file held is not known. "
        "Write the file anew, or leave the rest of it out with on_bad_record='skip'."
    )
    found = read(numbers(folder, shuffle=False, num_epochs=1, on_bad_record="skip"))
    assert [number for _, number in found] == [*range(9), *range(10, 20)]


def test_of_a_cut_off_gzip_file_what_can_be_decompressed_is_read(write, numbers, read):
    folder = write([200, 5], compression="GZIP")
    path = folder / "part-0.tfrecord"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"part-0\.tfrecord' is cut off or damaged: it cannot be decompressed"):
        numbers(folder).source()
    dataset = numbers(folder, shuffle=False, num_epochs=1, on_bad_record="skip")
    left = len(dataset.metadata.index) - 5
    assert 20 < left < 200
    assert [number for _, number in read(dataset)] == [*range(left), *range(200, 205)]


def test_a_set_of_which_nothing_can_be_read_ends_the_run(write, batches):
    folder = write([20], compression="GZIP")

    def input_fn(_mode):
        return mox.get_tfrecord(
            folder,
            "*",
            keys_to_features={"x": tf.io.FixedLenFeature([], tf.int64)},
            items_to_handlers={"x": Failing("x")},
            shuffle=False,
            on_bad_record="skip",
        ).get(["x"])

    with pytest.raises(DataError, match=r"none of the 20 samples could be read, from '.*record 0, at byte 0 of what "):
        batches(input_fn, batch_size=2)


class Failing(mox.tfexample_decoder.Tensor):
    """Fails for the numbers from `start` on."""

    def __init__(self, key, start=0):
        super().__init__(key)
        self.start = start

    def tensors_to_item(self, keys_to_tensors):
        number = super().tensors_to_item(keys_to_tensors)
        with tf.control_dependencies([tf.debugging.assert_less(number, tf.constant(self.start, tf.int64))]):
            return tf.identity(number)


@both
@pytest.mark.parametrize("shuffle", [False, True])
def test_records_of_which_no_item_can_be_made_are_left_out_and_named(write, read, compression, shuffle):
    folder = write([20, 3], compression=compression)
    dataset = mox.get_tfrecord(
        folder,
        "*",
        keys_to_features={"x": tf.io.FixedLenFeature([], tf.int64)},
        items_to_handlers={"x": Failing("x", start=21)},
        shuffle=shuffle,
        num_epochs=2,
        on_bad_record="skip",
    )
    report = BadSampleReport()
    found = read(dataset, report=report)
    assert sorted(number for _, number in found) == sorted([*range(21)] * 2)
    of_content = " of what it holds" * bool(compression)
    names = sorted(report.names)
    assert [name.partition(", at byte")[0] for name in names] == [
        f"{folder / 'part-1.tfrecord'}: record {number}" for number in (1, 2)
    ]
    assert all(name.endswith(of_content) for name in names)


def test_compressed_and_uncompressed_files_are_not_mixed(write, numbers):
    folder = write([3])
    write([3], compression="ZLIB", name="other")
    with pytest.raises(DataError, match=r"some files are compressed, as '.*other-0\.tfrecord', and some are not"):
        numbers(folder).source()


def test_what_is_read_is_what_tensorflow_reads(write):
    folder = write([40, 40], padding=50_000)  # runs of 20 records
    from mox_tfrecord.index import make_index
    from mox_tfrecord.sources import Records

    paths = sorted(map(str, folder.iterdir()))
    expected = list(tf.data.TFRecordDataset(paths).as_numpy_iterator())
    records = Records(make_index(paths, None), paths)
    assert [records.one(tf.constant(number, tf.int64)).numpy() for number in (0, 39, 40, 79)] == [
        expected[number] for number in (0, 39, 40, 79)
    ]
    runs = [[*range(first, stop)] for first, stop in ((0, 80), (7, 8), (15, 61), (20, 40), (79, 80))]
    # The end and the beginning of the set, gaps that are read with them and others, no order at all, nothing.
    for numbers in (*runs, [78, 79, 0, 1], [3, 4, 6, 30, 31, 50], [70, 2, 41, 40], []):
        places, (contents,) = records.blocks.read(tf.constant(numbers, tf.int64))
        assert places.numpy().tolist() == [*range(len(numbers))]
        assert contents.numpy().tolist() == [expected[number] for number in numbers]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_large_set_is_read_in_blocks_that_are_permuted_and_mixed(write, numbers, batches, read, monkeypatch, workers):
    monkeypatch.setattr("mox_tfrecord.sources._BLOCK_BYTES", 150)  # three records
    lengths = [300, 0, 5, 200]
    folder = write(lengths)
    spoil(folder / "part-3.tfrecord", offset_of(folder / "part-3.tfrecord", 7) + 14)
    dataset = numbers(folder, num_epochs=2, on_bad_record="skip")
    assert dataset.source().block_sizes == (3,)
    found = [read(dataset, workers=workers, worker=worker) for worker in range(workers)]
    by_place = sorted((position + worker, number) for worker, share in enumerate(found) for position, number in share)
    order = [number for _, number in by_place]
    assert sorted(order) == sorted([number for number in range(505) if number != 312] * 2)
    window = order[:160]  # three windows of 57 blocks
    assert 25 < len({number // 10 for number in window}) < 51
    if workers == 1:
        whole = batches(lambda _: [dataset.get(["x"])[0], tf.constant(1)], batch_size=16)
        assert [number for batch in whole for number in batch[0].tolist()] == order
        assert read(dataset, start=found[0][299][0]) == found[0][300:]


def test_random_files_of_bytes_are_never_taken_for_records(tmp_path, numbers):
    (tmp_path / "noise").write_bytes(np.random.default_rng(3).bytes(500))
    (tmp_path / "text").write_text("label,image\n1,2\n", encoding="utf-8")
    for name in ("noise", "text"):
        with pytest.raises(DataError, match="the files hold no record that can be read"):
            numbers(tmp_path, name).source()
