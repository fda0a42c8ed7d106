"""What `input_fn` makes of single samples, in the map that reads them or in one of its own, and where it fails."""

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.input.bad_samples import BadSampleReport
from mox_core.engine.input.input_elements import is_fused, open_samples
from mox_core.engine.input.order import Order
from mox_core.engine.input.traced_input import trace_input_fn
from mox_core.engine.tf_patches.run_scope import run_scope
from mox_core.sdk import SampleSource


def _source(num_samples, bad=(), *, read=None, **options):
    """Numbers, of which some cannot be read; `read` collects those that are."""
    read = [] if read is None else read

    def look(index):
        if index in bad:
            raise ValueError
        read.append(int(index))
        return index

    def fetch(index):
        number = tf.numpy_function(look, [index], tf.int64)
        number.set_shape([])
        return {"number": number, "square": number * number}

    return SampleSource(num_samples=num_samples, fetch=fetch, describe=lambda index: f"sample-{index}.jpg", **options)


def _train(input_fn, **options):
    def model_fn(inputs, mode):
        del mode
        weight = tf.compat.v1.get_variable("weight", [], initializer=tf.compat.v1.zeros_initializer())
        return mox.ModelSpec(loss=tf.reduce_mean((inputs[0] - weight) ** 2))

    return mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=2,
        **options,
    )


@pytest.mark.parametrize("options", [{"num_epochs": 1}, {}, {"on_bad_sample": "raise"}], ids=str)
def test_a_sample_for_which_input_fn_fails_is_not_taken_for_a_bad_one(options):
    def input_fn(mode):
        del mode
        number = _source(6, () if "on_bad_sample" in options else (1,), **options).read()["number"]
        return tf.gather([0.0, 1.0, 2.0], number) + tf.random.uniform([])

    with pytest.raises(mox.DataError, match=r"cannot be read in mode TRAIN: .*3 is not in.* for 'sample-3\.jpg'\.$"):
        _train(input_fn, max_number_of_steps=9)


def _checked(number):
    with tf.control_dependencies([tf.debugging.assert_less(number, tf.constant(2, tf.int64), "too large")]):
        return tf.identity(number)


@pytest.mark.parametrize(
    "change",
    [
        _checked,
        lambda number: tf.ensure_shape(tf.zeros([number]), [1])[0],
        lambda number: tf.strings.to_number(tf.gather(["0", "1", "two"], number)),
    ],
    ids=["an assertion", "a shape", "a word"],
)
def test_whatever_fails_in_input_fn_is_told_with_the_first_sample_that_it_fails_for(change):
    def input_fn(mode):
        del mode
        number = _source(2000, (0,)).read()["number"]
        return tf.cast(change(number), tf.float32) + tf.random.uniform([])

    with pytest.raises(mox.DataError, match=r"cannot be read in mode TRAIN: .* It fails for 'sample-2\.jpg'\.$"):
        _train(input_fn, max_number_of_steps=9)


def test_an_input_fn_that_fails_for_every_sample_ends_the_run_soon():
    read = []

    def input_fn(mode):
        del mode
        return tf.gather([0.0], _source(5000, read=read).read()["number"] + 7) + tf.random.uniform([])

    with pytest.raises(mox.DataError, match=r"cannot be read in mode TRAIN: .* It fails for 'sample-0\.jpg'\.$"):
        _train(input_fn, max_number_of_steps=9)
    assert len(read) < 300


def _fails_in_python(number):
    def call(value):
        if value == 5:
            raise ValueError("my mistake")
        return np.float32(value)

    return tf.ensure_shape(tf.numpy_function(call, [number], tf.float32), []) + tf.random.uniform([])


@pytest.mark.parametrize("on_bad_sample", ["skip", "raise"])
@pytest.mark.parametrize(
    "change", [_fails_in_python, lambda number: tf.gather(tf.zeros([5]), number % 6)], ids=["in Python", "of batches"]
)
def test_samples_beside_one_that_input_fn_fails_for_are_not_called_bad(change, on_bad_sample, said):
    def input_fn(mode):
        del mode
        return change(
            _source(500, (1,) if on_bad_sample == "skip" else (), on_bad_sample=on_bad_sample).read()["number"]
        )

    with pytest.raises(mox.DataError, match=r"cannot be read in mode TRAIN: .* It fails for 'sample-5\.jpg'\.$"):
        _train(input_fn, max_number_of_steps=9)
    named = [line for line in said.lines if "sample-" in line]
    assert named == [
        "WARNING:tensorflow:'sample-1.jpg' cannot be read (damaged, empty, or of no known format): it is left out."
    ] * (on_bad_sample == "skip")


def test_a_sample_that_could_not_be_read_and_can_be_a_moment_later_is_not_called_damaged(said):
    seen = []

    def look(index):
        seen.append(int(index))
        if index == 3 and seen.count(3) == 1:
            raise ValueError
        return index

    def fetch(index):
        return {"number": tf.ensure_shape(tf.numpy_function(look, [index], tf.int64), [])}

    source = SampleSource(num_samples=6, fetch=fetch, describe="sample {}".format, num_epochs=1)
    _train(lambda _mode: tf.cast(source.read()["number"], tf.float32) + tf.random.uniform([]))
    (line,) = [line for line in said.lines if "sample 3" in line]
    assert line == (
        "WARNING:tensorflow:'sample 3' was left out: it could not be read at first, and can be now: is memory short, "
        "or the disk or network lost at times?"
    )


def test_python_code_in_input_fn_is_called_once_for_each_sample_beside_bad_ones():
    called = []

    def note(number):
        called.append(int(number))
        return np.float32(number)

    def input_fn(mode):
        del mode
        number = _source(7, (2, 3), num_epochs=2).read()["number"]
        return tf.ensure_shape(tf.numpy_function(note, [number], tf.float32), []) + tf.random.uniform([])

    assert _train(input_fn).samples == 10
    assert sorted(called) == sorted([0, 1, 4, 5, 6] * 2)


def test_what_input_fn_makes_where_a_sample_is_read_is_what_it_makes_in_a_map_of_its_own():
    def input_fn(mode):
        del mode
        features = _source(9, (4,), shuffle=True, num_epochs=3).read()
        noise = tf.random.normal([3]) + tf.cast(features["square"], tf.float32)
        return {"noise": noise, "name": tf.strings.as_string(features["number"])}, features["number"]

    with run_scope():
        traced = trace_input_fn(input_fn, mox.ModeKeys.TRAIN, seed=1)
        assert is_fused(traced)
        fused, apart = (
            [
                tf.nest.flatten(each)
                for each in open_samples(traced, Order(seed=1), BadSampleReport(), (0,), fused=fused)
            ]
            for fused in (True, False)
        )
    assert len(fused) == len(apart) == 24
    for one, other in zip(fused, apart, strict=True):
        for tensor, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(tensor.numpy(), same.numpy())
