"""Samples by index: their order, where a run goes on, and what happens to the ones that cannot be read."""

import threading

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.input.bad_samples import BadSampleReport
from mox_core.engine.input.order import Order
from mox_core.errors import DataError
from mox_core.sdk import READABLE, SampleSource


class Fetches:
    """Fetches (index, its square), counts the calls, and fails for chosen indices."""

    def __init__(self, bad=()):
        self.bad = set(bad)
        self.calls = 0
        self._lock = threading.Lock()

    def __call__(self, index):
        def fetch(value):
            with self._lock:
                self.calls += 1
            if int(value) in self.bad:
                raise ValueError
            return np.int64(value)

        value = tf.numpy_function(fetch, [index], tf.int64)
        value.set_shape([])
        return {"index": value, "square": value * value}


def _source(num_samples, bad=(), **options):
    return SampleSource(
        num_samples=num_samples, fetch=Fetches(bad), describe=lambda index: f"sample-{index}.jpg", **options
    )


def _read(source, count=None, *, seed=1, start=0, report=None, workers=1, worker=0):
    """The (next position, index) pairs of a source from a position on."""
    order = Order(seed=seed, workers=workers, worker=worker)
    dataset = source.dataset(order=order, start=start, needed=None, report=report or BadSampleReport())
    dataset = dataset if count is None else dataset.take(count)
    return [(int(after), features["index"].numpy().tolist()) for after, features in dataset]


def _order(*args, **kwargs):
    return [index for _, index in _read(*args, **kwargs)]


@pytest.mark.parametrize("num_samples", [1, 2, 23, 1500])  # less and more than a block of positions
def test_every_shuffled_epoch_holds_every_sample_once(num_samples):
    order = _order(_source(num_samples, shuffle=True, num_epochs=3))
    epochs = np.reshape(order, [3, num_samples])
    assert (np.sort(epochs, axis=1) == np.arange(num_samples)).all()
    if num_samples > 2:
        assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3, "epochs must differ"


def test_shuffling_moves_samples_over_the_whole_set():
    first = np.array(_order(_source(1500, shuffle=True, num_epochs=1)))
    # Of a random permutation, the mean distance from the place in the unshuffled set is a third of its size.
    assert np.abs(first - np.arange(1500)).mean() == pytest.approx(500, rel=0.1)


def test_the_order_is_a_function_of_seed_and_position():
    source = _source(10, shuffle=True, num_epochs=4)
    order = _order(source, seed=5)
    assert _order(source, seed=5) == order
    assert _order(source, seed=6) != order
    assert [int(source.index_at(tf.constant(p, tf.int64), Order(seed=5))) for p in range(40)] == order


def test_the_order_of_an_unshuffled_set_is_that_of_the_indices():
    assert _order(_source(4, num_epochs=2)) == [0, 1, 2, 3, 0, 1, 2, 3]


@pytest.mark.parametrize("bad", [(), (0, 3, 6)], ids=["all good", "some bad"])
def test_a_run_that_starts_at_a_next_position_reads_what_would_have_come(bad):
    source = _source(7, bad, shuffle=True, num_epochs=3)
    whole = _read(source)
    assert [index for _, index in whole] == [i for i in _order(_source(7, shuffle=True, num_epochs=3)) if i not in bad]
    for number, (after, _) in enumerate(whole):
        assert _read(source, start=after) == whole[number + 1 :]


def test_a_start_deep_in_the_input_reads_no_sample_before_it():
    position = 5_000_000_000
    source = _source(1000, shuffle=True)
    assert _read(source, 3, start=position)[-1][0] == position + 3
    assert source.fetch.calls < 100, "three samples, and what is read ahead of them"


def test_a_resumed_run_deep_in_its_input_reads_no_sample_before_it(tmp_path, variables):
    def run(steps, source):
        def input_fn(mode):  # noqa: ARG001
            return tf.cast(source.read()["index"], tf.float32)

        return mox.run(
            input_fn=input_fn,
            model_fn=_mean_model_fn,
            optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=2,
            log_dir=tmp_path,
            max_number_of_steps=steps,
        )

    values = variables(run(1, _source(1000, shuffle=True)).checkpoint)
    values["mox/input_positions"] = np.array([5_000_000_000], np.int64)
    names = sorted(values)
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "model.ckpt-1"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[values[name] for name in names],
    )
    source = _source(1000, shuffle=True)
    assert variables(run(2, source).checkpoint)["mox/input_positions"].tolist() == [5_000_000_002]
    assert source.fetch.calls < 100


def test_batches_of_a_source_tell_where_to_go_on_behind_their_last_sample():
    source = _source(10, (4,), num_epochs=1, batch_size=4)
    assert _read(source) == [(4, [0, 1, 2, 3]), (9, [5, 6, 7, 8]), (10, [9])]
    assert _read(source, start=4) == [(9, [5, 6, 7, 8]), (10, [9])]
    assert _read(_source(10, num_epochs=1, batch_size=4, drop_remainder=True)) == [(4, [0, 1, 2, 3]), (8, [4, 5, 6, 7])]


def test_bad_samples_are_named_once_each_and_counted_at_the_end(said):
    report = BadSampleReport()
    assert _order(_source(6, (1, 5), num_epochs=3), report=report) == [0, 2, 3, 4] * 3
    assert list(report.names) == ["sample-1.jpg", "sample-5.jpg"]
    report.close()
    assert said.lines == [
        "WARNING:tensorflow:'sample-1.jpg' cannot be read (damaged, empty, or of no known format): it is left out.",
        "WARNING:tensorflow:'sample-5.jpg' cannot be read (damaged, empty, or of no known format): it is left out.",
        "WARNING:tensorflow:2 bad samples were left out of this run.",
    ]


def test_two_modes_that_read_the_same_bad_samples_name_each_once_and_are_counted_apart(said):
    trained = BadSampleReport("TRAIN")
    validated = BadSampleReport("EVAL", trained.said)
    _order(_source(6, (1,), num_epochs=1), report=trained)
    _order(_source(6, (1, 5), num_epochs=1), report=validated)
    trained.close()
    validated.close()
    assert said.lines == [
        "WARNING:tensorflow:'sample-1.jpg' cannot be read (damaged, empty, or of no known format): it is left out.",
        "WARNING:tensorflow:'sample-5.jpg' cannot be read (damaged, empty, or of no known format): it is left out.",
        "WARNING:tensorflow:1 bad sample was left out of this run in mode TRAIN.",
        "WARNING:tensorflow:2 bad samples were left out of this run in mode EVAL.",
    ]


def test_a_sample_marked_as_not_readable_is_left_out_like_one_whose_operation_fails():
    def fetch(index):
        return {"index": index, READABLE: tf.not_equal(index % 3, 1)}

    report = BadSampleReport()
    source = SampleSource(num_samples=6, fetch=fetch, describe=lambda index: f"sample-{index}.jpg", num_epochs=2)
    assert _order(source, report=report) == [0, 2, 3, 5] * 2
    assert list(report.names) == ["sample-1.jpg", "sample-4.jpg"]
    assert list(source.specs()) == ["index"]


def test_a_set_of_which_nothing_can_be_read_ends_after_one_epoch_of_it():
    reads = []

    def note(index):
        reads.append(int(index))
        return False

    def fetch(index):
        return {"index": index, READABLE: tf.ensure_shape(tf.numpy_function(note, [index], tf.bool), [])}

    source = SampleSource(num_samples=80, fetch=fetch, describe=str, num_epochs=None)
    with pytest.raises(tf.errors.OpError):
        _order(source, report=BadSampleReport())
    # Once, and once more from the end on, in search of one that can be read; a few were begun ahead.
    assert len(reads) < 3 * 80


def test_a_run_without_bad_samples_says_nothing_of_them(said):
    report = BadSampleReport()
    _order(_source(6, num_epochs=2), report=report)
    report.close()
    assert said.lines == []


def _mean_model_fn(inputs, mode):  # noqa: ARG001
    weight = tf.compat.v1.get_variable("weight", [], initializer=tf.compat.v1.zeros_initializer())
    loss = tf.reduce_mean((inputs[0] - weight) ** 2)
    return mox.ModelSpec(loss=loss, log_info={"loss": loss, "mean": tf.reduce_mean(inputs[0])})


def _train(source, **options):
    return mox.run(
        input_fn=lambda mode: tf.cast(source.read()["index"], tf.float32),  # noqa: ARG005
        model_fn=_mean_model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=2,
        **options,
    )


def test_a_run_with_a_bad_sample_ends_with_its_name_where_that_is_asked_for():
    with pytest.raises(DataError, match=r"^'sample-4\.jpg' cannot be read: it is damaged, empty, or of no known "):
        _train(_source(6, (4,), num_epochs=1, on_bad_sample="raise"))


@pytest.mark.parametrize("options", [{}, {"num_epochs": 1}, {"batch_size": 2}, {"on_bad_sample": "raise"}], ids=str)
def test_a_set_without_one_readable_sample_ends_the_run_instead_of_being_waited_for(options):
    with pytest.raises(DataError, match=r"^none of the 6 samples could be read, from 'sample-0\.jpg' on\. Check that"):
        _train(_source(6, range(6), **options), max_number_of_steps=3)


def test_a_single_readable_sample_is_enough():
    result = _train(_source(60, set(range(60)) - {7}), max_number_of_steps=2)
    assert result.metrics["mean"] == 7
    assert result.samples == 4


def test_samples_are_skipped_and_the_batches_stay_full():
    result = _train(_source(7, (2, 3), num_epochs=2))
    # 0 1 | 4 5 | 6 0 | 1 4 | 5 6
    assert (result.steps, result.samples, result.metrics["mean"]) == (5, 10, 5.5)
    assert result.stopped_by == "end of input"


def test_an_error_in_the_transform_is_not_taken_for_a_bad_sample():
    def transform(features):
        with tf.control_dependencies([tf.debugging.assert_less(features["index"], tf.constant(3, tf.int64))]):
            return {"index": tf.identity(features["index"])}

    with pytest.raises(mox.DataError, match=r"mode TRAIN: assertion failed: .* It fails for 'sample-3\.jpg'\.$"):
        _train(_source(6, transform=transform), max_number_of_steps=4)


def test_two_sources_are_read_side_by_side_each_with_a_position_of_its_own(tmp_path, variables, said):
    def input_fn(mode):  # noqa: ARG001
        left, right = _source(5, (0,)).read(), _source(3).read()
        return tf.cast(left["index"] * 10 + right["index"], tf.float32)

    result = mox.run(
        input_fn=input_fn,
        model_fn=_mean_model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=2,
        log_dir=tmp_path,
        max_number_of_steps=3,
    )
    # 10 21 | 32 40 | 11 22: the fifth of the left source is sample 1 of its second epoch.
    assert result.metrics["mean"] == 16.5
    assert variables(result.checkpoint)["mox/input_positions"].tolist() == [8, 6]
    (line,) = [line for line in said.lines if "side by side" in line]
    assert line == (
        "WARNING:tensorflow:input_fn reads 2 data sets side by side: behind a sample that is left out of one of them, "
        "those of it meet other samples of the others than before. Where they belong together, pass "
        "on_bad_image='raise' (on_bad_record='raise')."
    )


def test_a_resumed_run_says_that_a_data_set_has_more_samples_or_fewer_than_before(tmp_path, said):
    def run(steps, *sizes):
        def input_fn(mode):  # noqa: ARG001
            return sum(tf.cast(_source(size, shuffle=True).read()["index"], tf.float32) for size in sizes)

        mox.run(
            input_fn=input_fn,
            model_fn=_mean_model_fn,
            optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=2,
            log_dir=tmp_path / str(len(sizes)),
            max_number_of_steps=steps,
        )
        lines = [line for line in said.lines if line.startswith("WARNING")]
        said.lines.clear()
        return lines

    assert run(2, 8) == run(3, 8) == []
    (line,) = run(4, 9)
    assert line == (
        f"WARNING:tensorflow:the data set that input_fn reads had 8 samples when {tmp_path}/1/model.ckpt-3 was "
        "written, and has 9 now: the training goes on, and in the epoch that it is in, samples may come twice or not "
        "at all."
    )
    assert run(2, 8, 5) == []
    (line,) = run(3, 8, 4)
    assert line.startswith("WARNING:tensorflow:data set 2 that input_fn reads had 5 samples when ")


@pytest.mark.parametrize("wrong", [{"num_epochs": 0}, {"batch_size": 0}, {"on_bad_sample": "ignore"}], ids=str)
def test_a_source_refuses_what_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        _source(3, **wrong)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("num_samples", [2, 7, 1500])
def test_workers_read_the_samples_of_the_one_order_in_turn(num_samples, shuffle):
    source = _source(num_samples, shuffle=shuffle, num_epochs=2)
    whole = _order(source)
    for start in (0, num_samples - 1):
        for worker in range(3):
            own = _read(source, start=start, workers=3, worker=worker)
            assert [index for _, index in own] == whole[start + worker :: 3]
            assert [after for after, _ in own] == [start + 3 * (number + 1) for number in range(len(own))]


def test_a_worker_that_goes_on_reads_what_would_have_come():
    source = _source(10, (4, 9), shuffle=True)
    whole = _read(source, 30, workers=2, worker=1)
    for number, (after, _) in enumerate(whole[:20]):
        assert _read(source, 9, start=after, workers=2, worker=1) == whole[number + 1 : number + 10]


def test_each_worker_names_the_bad_samples_of_its_share_only():
    source = _source(9, (1, 2, 8), num_epochs=2)
    for worker, bad in ((0, [2, 8, 1]), (1, [1, 2, 8])):  # the second epoch begins with the other worker
        report = BadSampleReport()
        read = _order(source, report=report, workers=2, worker=worker)
        assert read == [i for i in [*range(9), *range(9)][worker::2] if i not in bad]
        assert list(report.names) == [f"sample-{index}.jpg" for index in bad]


def test_a_share_without_one_readable_sample_ends_the_run():
    source = _source(4, (1, 3))
    with pytest.raises(tf.errors.OpError):
        _read(source, 1, workers=2, worker=1, report=(report := BadSampleReport()))
    assert "none of the 4 samples could be read" in str(report.error)


@pytest.mark.parametrize(("workers", "worker"), [(1, 0), (2, 1)])
def test_a_source_is_told_what_is_read_next_before_it_is(workers, worker):
    told = []
    source = _source(1000, (7, 8), shuffle=True, num_epochs=2, read_ahead=told.extend)
    seen = []
    for number, index in enumerate(_order(source, start=400, workers=workers, worker=worker)):
        if number % 100 == 0:
            assert index in told
        seen.append(index)
    without = _source(1000, shuffle=True, num_epochs=2)
    assert told == _order(without, start=400, workers=workers, worker=worker)
    assert seen == [index for index in told if index not in (7, 8)]


def test_an_error_of_reading_ahead_ends_the_run_at_once():
    def refuse(indices):
        if 500 in indices:
            raise DataError("the store has gone")

    source = _source(1_000_000, range(500, 1_000_000), num_epochs=1, read_ahead=refuse)
    with pytest.raises(DataError, match="the store has gone"):
        _train(source, max_number_of_steps=1000)
    assert source.fetch.calls < 1000


def test_a_bad_sample_that_tells_of_all_ends_the_run():
    def tell(_index):
        raise DataError("the store has gone")

    with pytest.raises(DataError, match="the store has gone"):
        _train(_source(100, (3,), system_error=tell), max_number_of_steps=1000)
