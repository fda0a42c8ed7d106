"""Samples that are read in blocks, and batches that are made of many samples at a time."""

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.input.batching import Batching
from mox_core.engine.input.epochs import EpochOrder
from mox_core.engine.input.order import Order
from mox_core.engine.input.pipeline import build_pipeline
from mox_core.engine.input.row_functions import on_rows
from mox_core.engine.randomness import fold
from mox_core.errors import DataError
from mox_core.sdk import READABLE, Blocks, SampleSource

SIZE = 1000
IN_MEMORY = "in memory"


def _places(epochs, first=0):
    return tf.range(first * epochs.num_samples, (first + 1) * epochs.num_samples, dtype=tf.int64)


@pytest.mark.parametrize(("size", "block"), [(10, 1), (1000, 3), (1001, 3), (321, 5), (129, 2)])
def test_an_epoch_of_blocks_holds_every_sample_once_and_any_place_is_found_alone(size, block):
    epochs = EpochOrder(num_samples=size, shuffle=True, seed=5, block=block)
    orders = [epochs.index_at(_places(epochs, epoch)).numpy() for epoch in range(3)]
    assert [sorted(order) for order in orders] == [[*range(size)]] * 3
    assert len({tuple(order) for order in orders}) == 3
    for place in (0, size - 1, size, 2 * size + 7):
        assert int(epochs.index_at(tf.constant(place, tf.int64))) == np.concatenate(orders)[place]
    for number in range(2 * epochs.windows):
        window = tf.constant(number, tf.int64)
        first, stop = (int(bound) for bound in epochs.bounds(window))
        found = epochs.index_inside(window, epochs.inside(window, tf.range(stop - first, dtype=tf.int64)))
        assert found.numpy().tolist() == np.concatenate(orders)[first:stop].tolist()


def test_a_set_that_fits_into_a_window_has_one_permutation_as_samples_read_one_by_one_have():
    expected = [
        int(
            tf.random.experimental.index_shuffle(
                tf.constant(i, tf.int64), [fold(5, "order"), 2], tf.constant(99, tf.int64)
            )
        )
        for i in range(100)
    ]
    for block in (1, 2):  # 100 samples are 50 blocks
        epochs = EpochOrder(num_samples=100, shuffle=True, seed=5, block=block)
        assert epochs.index_at(_places(epochs, 2)).numpy().tolist() == expected


def test_an_epoch_of_blocks_is_mixed_well():
    """A set sorted by class: 200 classes of 100 samples, in blocks of 10, 64 of which are mixed at a time."""
    epochs = EpochOrder(num_samples=20_000, shuffle=True, seed=3, block=10)
    orders = [epochs.index_at(_places(epochs, epoch)).numpy() for epoch in range(2)]
    places = np.argsort(orders[0])
    assert abs(np.corrcoef(np.arange(20_000), places)[0, 1]) < 0.05
    # Batches of 256 of a whole permutation hold 144.8 classes of 200: 200 * (1 - (1 - 1 / 200) ** 256).
    batches = (orders[0][: 256 * 78] // 100).reshape(78, 256)
    classes = np.mean([len(np.unique(batch)) for batch in batches])
    assert 50 < classes < 64 + 5, "of a window of 640 samples from 64 places"
    in_file_order = np.mean([len(np.unique(batch // 100)) for batch in np.arange(256 * 78).reshape(78, 256)])
    assert in_file_order < 4
    # What was in one window is anywhere in the next epoch, each sample on its own within its block.
    later = np.argsort(orders[1])[orders[0][:640]] // epochs.window_size
    assert len(np.unique(later)) > 20
    together = np.diff(np.sort(places.reshape(2000, 10), axis=1), axis=1)
    assert np.median(together) > 20, "the samples of a block are not beside each other"


def _source(size=SIZE, *, bad=(), unread=(), block=4, **options):
    """Squares, read in blocks or gathered in memory: some are not read, and of others nothing can be made."""
    squares = tf.constant(np.arange(size, dtype=np.int64) ** 2)
    is_bad, is_unread = (tf.constant(np.isin(np.arange(size), numbers).astype(np.int64)) for numbers in (bad, unread))
    zeros = tf.zeros([1], tf.int64)

    def read(indices):
        places = tf.where(tf.gather(is_unread, indices) == 0)[:, 0]
        return places, (tf.gather(squares, tf.gather(indices, places)),)

    def fetch(index, content=None):
        if content is None:
            content = tf.gather(squares, index) + tf.gather(zeros, tf.gather(is_unread, index))
        return {"index": index, "square": content + tf.gather(zeros, tf.gather(is_bad, index))}  # no zero at place 1

    if block == IN_MEMORY:
        return SampleSource(num_samples=size, fetch=fetch, fetch_many=fetch, describe=str, **options)
    blocks = Blocks(size=block, contents=[tf.TensorSpec([], tf.int64)], read=read) if block else None
    return SampleSource(num_samples=size, fetch=fetch, describe=str, blocks=blocks, **options)


def _rows(features):
    """By operations that work on rows, on what cannot be told from a single sample's."""
    return features["index"], tf.stack([tf.cast(features["square"], tf.float32) / 3, tf.constant(2.0)]), tf.constant(7)


def _alone(features):
    """The same, by an operation that is not known to round alike in any place."""
    index, rows, seven = _rows(features)
    return index, tf.math.exp(tf.math.log(rows)), seven


def _batches(source, apply=_rows, *, size=32, start=0, limit=None, report=None, mode="TRAIN", whole=True, **share):
    """The batches of a pipeline: its position, the indices, and the rest."""
    order = Order(seed=1, **share)
    pipeline = build_pipeline(lambda _: apply(source.read()), mode, Batching(batch_size=size, auto=True), order=order)
    assert (pipeline._many is not None and getattr(pipeline._many, "fetch", True) is not None) == whole
    found = []
    with pipeline.open([start]) as opened:
        while len(found) != limit and (element := opened.next()) is not None:
            position, (index, rows, seven) = element
            np.testing.assert_array_equal(rows[:, 1], 2.0, strict=False)
            assert (seven.numpy() == 7).all()
            found.append((int(position[0]), index.numpy().tolist(), rows[:, 0].numpy()))
    if report is not None:
        report.extend(pipeline.report.names)
    return found


def _indices(batches):
    return [index for _, indices, _ in batches for index in indices]


def _order(source, epochs=1):
    """The order of a source, one sample at a time."""
    order = Order(seed=1)
    places = tf.range(epochs * source.num_samples, dtype=tf.int64)
    return source.epochs(order.seed).index_at(places).numpy().tolist()


@pytest.mark.parametrize("block", [None, 4, 40, IN_MEMORY])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_of_whole_packs_are_those_of_single_samples_and_go_on_anywhere(block, shuffle):
    source = _source(block=block, shuffle=shuffle)
    expected = _order(source, 3)
    batches = _batches(source, limit=80)
    assert _indices(batches) == expected[: 80 * 32]
    assert [position for position, _, _ in batches] == [32 * (number + 1) for number in range(80)]
    squares = np.square(np.array(expected[: 80 * 32]))
    np.testing.assert_array_equal(np.concatenate([rows for *_, rows in batches]), squares.astype(np.float32) / 3)
    assert _indices(_batches(source, start=997, size=600, limit=2)) == expected[997 : 997 + 2 * 600]


def test_samples_go_alone_where_an_operation_may_round_otherwise_among_others():
    source = _source(shuffle=True)
    assert _indices(_batches(source, _alone, limit=40, whole=False)) == _order(source, 2)[: 40 * 32]


@pytest.mark.parametrize(("block", "shuffle"), [(None, True), (4, False), (4, True), (IN_MEMORY, True)])
def test_workers_share_the_order_of_blocks(shuffle, block):
    source = _source(block=block, shuffle=shuffle, num_epochs=2)
    expected = _order(source, 2)
    for worker in (0, 2):
        own = _batches(source, start=14, mode="EVAL", workers=3, worker=worker)
        assert _indices(own) == expected[14 + worker :: 3]


@pytest.mark.parametrize("apply", [_rows, _alone])
@pytest.mark.parametrize("shuffle", [False, True])
def test_what_cannot_be_read_or_made_is_left_out_and_named_once(shuffle, apply):
    source = _source(bad=(3, 999), unread=(0, 500), shuffle=shuffle, num_epochs=2)
    expected = [index for index in _order(source, 2) if index not in (0, 3, 500, 999)]
    named = []
    found = _batches(source, apply, mode="EVAL", whole=apply is _rows, report=named)
    assert _indices(found) == expected
    assert [len(indices) for _, indices, _ in found[:-1]] == [32] * (len(found) - 1)
    assert sorted(named) == ["0", "3", "500", "999"]
    whole = _batches(source, apply, mode="TRAIN", whole=apply is _rows, report=named)  # drops the last samples
    assert _indices(whole) == expected[: len(expected) // 32 * 32]
    assert sorted(named[4:]) == ["0", "3", "500", "999"]
    position, _, _ = found[20]
    assert _indices(_batches(source, apply, start=position, mode="EVAL", whole=apply is _rows)) == expected[21 * 32 :]


def test_samples_that_a_source_marks_as_bad_are_left_out():
    def fetch(index):
        return {"index": index, "square": index * index, READABLE: tf.not_equal(index % 10, 3)}

    source = SampleSource(num_samples=100, fetch=fetch, describe=str, num_epochs=1)
    named = []
    found = _batches(source, mode="EVAL", whole=False, report=named)
    assert _indices(found) == [index for index in range(100) if index % 10 != 3]
    assert sorted(map(int, named)) == list(range(3, 100, 10))


def test_a_bad_sample_ends_the_run_where_it_should():
    with pytest.raises(DataError, match=r"^'999' cannot be read: it is damaged, empty"):
        _batches(_source(bad=(999,), num_epochs=1, on_bad_sample="raise"), mode="EVAL")


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_set_of_blocks_of_which_nothing_can_be_read_ends_the_run(shuffle):
    for lost in ({"unread": range(SIZE)}, {"bad": range(SIZE)}):
        with pytest.raises(DataError, match=f"none of the {SIZE} samples could be read"):
            _batches(_source(**lost, shuffle=shuffle))


def test_rows_are_made_where_every_operation_gives_the_same_bits_for_a_sample_anywhere():
    spec = [tf.TensorSpec([3], tf.float32)]
    values = np.random.default_rng(1).normal(size=(37, 3)).astype(np.float32)
    table = tf.constant([[1.5], [2.5], [3.5]])

    def exact(x):
        rounded = tf.cast(tf.clip_by_value(x, 0, 2), tf.int64)
        picked = tf.gather(table, rounded[1]) * x[0] - 0.3
        return tf.concat([tf.reshape(x, [3, 1])[::-1, 0] / 3, picked, tf.one_hot(rounded[0], 4)], 0), x[2] > 0

    rows = on_rows(exact, spec)
    together = tf.data.Dataset.from_tensors(values).map(rows)  # in graphs, as in a run
    alone = tf.data.Dataset.from_tensor_slices(values).map(exact).batch(len(values))
    for made, expected in zip(together.get_single_element(), alone.get_single_element(), strict=True):
        np.testing.assert_array_equal(made, expected)
    others = (
        tf.math.exp,  # rounds otherwise in the rest of a vector
        lambda _: tf.random.normal([3]),
        tf.reduce_sum,
        lambda x: tf.ensure_shape(tf.py_function(abs, [x], tf.float32), [3]),
    )
    assert [on_rows(other, spec) for other in others] == [None] * 4
    assert on_rows(lambda x: tf.tile(x, [tf.cast(x[0], tf.int32)]), spec) is None


def test_rows_are_taken_as_they_are_and_their_function_holds_nothing_that_it_does_not_need():
    """A copy of all of them costs as much as reading them, and each operation counts where packs are small."""
    rows = on_rows(lambda x, text: (x * 2, text), [tf.TensorSpec([3], tf.float32), tf.TensorSpec([], tf.string)])
    types = sorted(op.type for op in rows.graph.get_operations() if op.type not in {"Const", "Identity"})
    assert types == ["Mul", "Placeholder", "Placeholder"]
    for number in (0, 1, 5):
        x, text = np.arange(3.0 * number, dtype=np.float32).reshape(number, 3), np.array([b"a"] * number, object)
        doubled, same = rows(tf.constant(x), tf.constant(text, tf.string))
        assert doubled.numpy().tolist() == (x * 2).tolist()
        assert same.numpy().tolist() == text.tolist()


def _count_model_fn(inputs, mode):  # noqa: ARG001
    """Takes 1 from the weight of each sample that it is given."""
    weights = tf.compat.v1.get_variable("seen", [SIZE], initializer=tf.zeros_initializer())
    seen = tf.gather(weights, inputs[0])
    return mox.ModelSpec(loss=tf.reduce_sum(seen), log_info={"seen": tf.reduce_sum(seen)})


@pytest.mark.parametrize(("before", "after"), [(4, 4), (4, 9), (None, 4)], ids=str)
def test_a_training_goes_on_in_the_order_of_its_beginning(tmp_path, variables, before, after):
    """Also one of an earlier version, which knew no blocks, and where the size of blocks is another now."""

    def train(block, steps):
        source = _source(block=block, shuffle=True)
        return mox.run(
            input_fn=lambda _: _rows(source.read()),
            model_fn=_count_model_fn,
            optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(1.0),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=50,
            log_dir=tmp_path,
            max_number_of_steps=steps,
        )

    first = variables(train(before, 7).checkpoint)
    assert first.get("mox/input_blocks", np.array([1])).tolist() == [before or 1]
    last = variables(train(after, SIZE // 50).checkpoint)
    assert last["seen"].tolist() == [-1.0] * SIZE
    assert last["mox/input_positions"].tolist() == [SIZE]
