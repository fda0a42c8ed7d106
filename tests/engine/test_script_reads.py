"""Data sets that are read outside of `mox.run`: by sessions of a script, and eagerly."""

import gc

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.errors import UsageError
from mox_core.sdk import SampleSource, captured_constant, read_once

TENS = [10, 20, 30, 40, 50]


class Tens:
    """Numbers, 10 and so on, as a plugin writes a data set."""

    def __init__(self, numbers=TENS, *, bad=None, on_bad_sample="skip", **options):
        self._numbers = captured_constant(numbers, tf.int64)
        self._bad = bad
        self._options = options | {"num_samples": len(numbers), "on_bad_sample": on_bad_sample}

    def get(self, keys):
        features = read_once(self, lambda: self._doubled(self.source().read()))
        return [features[key] for key in keys]

    def source(self):
        return SampleSource(fetch=self._fetch, describe=lambda index: f"number {index}", **self._options)

    def _doubled(self, features):
        return features | {"twice": features["number"] * 2}

    def _fetch(self, index):
        number = tf.gather(self._numbers, index)
        with tf.control_dependencies([tf.debugging.assert_none_equal(number, tf.constant(self._bad or 0, tf.int64))]):
            return {"number": tf.identity(number), "index": index}


def _all_of(session, fetches):
    found = []
    while True:
        try:
            values = session.run(fetches)
        except tf.errors.OutOfRangeError:
            return found
        found.append(tuple(map(int, values)))


def test_each_session_reads_all_epochs_and_then_is_at_the_end():
    with tf.Graph().as_default():
        dataset = Tens(num_epochs=2)
        number, twice = dataset.get(["number", "twice"])
        (index,) = dataset.get(["index"])
        more = number + 1
        expected = [(number, 2 * number, place, number + 1) for place, number in enumerate(TENS)] * 2
        for _ in range(2):
            with tf.compat.v1.Session() as session:
                assert _all_of(session, [number, twice, index, more]) == expected
        tf.compat.v1.train.get_or_create_global_step()
        read = []
        with tf.compat.v1.train.MonitoredTrainingSession() as session:
            while not session.should_stop():
                read.append(int(session.run(number)))
        assert read == TENS * 2  # the session took the end for the end of the training


def test_a_model_of_tf1_trains_on_what_a_session_reads():
    with tf.Graph().as_default():
        (number,) = Tens([1, 2, 3]).get(["number"])
        weight = tf.compat.v1.get_variable("weight", initializer=1.0, use_resource=True)
        loss = tf.square(weight * tf.cast(number, tf.float32))
        train = tf.compat.v1.train.GradientDescentOptimizer(0.1).minimize(loss)
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            for _ in range(4):  # 1 2 3 1
                session.run(train)
            value = session.run(weight)
    assert value == pytest.approx(np.prod([1 - 0.2 * x * x for x in (1, 2, 3, 1)]), rel=1e-5)


def test_the_orders_in_a_graph_are_those_of_its_seed_one_for_each_data_set():
    def order(seed):
        with tf.Graph().as_default():
            tf.compat.v1.set_random_seed(seed)
            both = [Tens(range(1, 30), shuffle=True, num_epochs=2).get(["number"])[0] for _ in range(2)]
            with tf.compat.v1.Session() as session:
                return _all_of(session, both)

    first = order(7)
    epochs = [tuple(each) for side in zip(*first, strict=True) for each in (side[:29], side[29:])]
    assert {tuple(sorted(epoch)) for epoch in epochs} == {tuple(range(1, 30))}
    assert len(set(epochs)) == 4
    assert order(7) == first != order(8)


def test_a_bad_sample_is_left_out_or_ends_what_a_session_reads(caplog):
    tf.get_logger().addHandler(caplog.handler)
    try:
        for on_bad_sample in ("skip", "raise"):
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                (number,) = Tens(bad=20, on_bad_sample=on_bad_sample, num_epochs=1).get(["number"])
                if on_bad_sample == "skip":
                    assert _all_of(session, [number]) == [(10,), (30,), (40,), (50,)]
                else:
                    with pytest.raises(tf.errors.OpError, match=r"number 1.* cannot be read: it is damaged"):
                        _all_of(session, [number])
    finally:
        tf.get_logger().removeHandler(caplog.handler)
        gc.collect()
    assert caplog.messages[0].startswith("'number 1' cannot be read (")


def test_eagerly_each_call_gives_the_next_sample_and_says_so_once(caplog):
    tf.get_logger().addHandler(caplog.handler)
    try:
        dataset = Tens(num_epochs=1)
        read = [tuple(map(int, dataset.get(["twice", "index"]))) for _ in TENS]
        assert read == [(2 * number, place) for place, number in enumerate(TENS)]
        with pytest.raises(tf.errors.OutOfRangeError, match="all of its epochs are read"):
            dataset.get(["index"])
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    said = [record for record in caplog.records if "eagerly" in record.message]
    assert said[0].message == (
        "Tens is read outside of mox.run, and eagerly: each call of get gives the next sample, so ask for all of its "
        "features in one call. What mox.run trains with is read in input_fn."
    )
    assert len({id(record) for record in said}) == 1


def test_eagerly_two_shuffled_data_sets_are_in_other_orders_and_the_same_again_with_the_same_seed():
    def orders():
        tf.random.set_seed(7)
        sets = [Tens(range(1, 30), shuffle=True, num_epochs=1) for _ in range(2)]
        return [[int(dataset.get(["number"])[0]) for _ in range(29)] for dataset in sets]

    left, right = orders()
    assert sorted(left) == sorted(right) == list(range(1, 30))
    assert left != right
    assert orders() == [left, right]


def test_a_data_set_is_not_read_in_the_graph_of_a_function():
    with pytest.raises(UsageError, match=r"^a data set is read inside input_fn: call dataset\.get"):
        tf.function(lambda: Tens().get(["index"]), autograph=False)()  # AutoGraph makes an error of its own of it
    with pytest.raises(UsageError, match=r"Outside of mox\.run, tensors for a session are made in a graph"):
        Tens().source().read()  # eagerly, which would be the first sample again and again

    def model_fn(_inputs, _mode):
        Tens().get(["index"])

    with pytest.raises(UsageError, match=r"^a data set is read inside input_fn"):
        mox.run(
            input_fn=lambda _mode: Tens().get(["number"]),
            model_fn=model_fn,
            optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.1),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=1,
            max_number_of_steps=1,
        )
