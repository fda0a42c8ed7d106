"""Data in the wrong shape: whole arrays, or batches, in place of the samples of which mox makes batches."""

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.sdk import SampleSource


def _shapes(input_fn, **options):
    """Trains one step, and returns the static shapes of the inputs."""
    shapes = []

    def model_fn(inputs, mode):
        del mode
        shapes.extend(tuple(tensor.shape) for tensor in tf.nest.flatten(inputs))
        return mox.ModelSpec(loss=tf.compat.v1.get_variable("w", initializer=0.0))

    optimizer_fn = lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1)  # noqa: E731
    job = {"model_fn": model_fn, "optimizer_fn": optimizer_fn, "run_mode": mox.ModeKeys.TRAIN}
    mox.run(input_fn=input_fn, **job, max_number_of_steps=1, **options)
    return shapes


X, Y = np.arange(120, dtype=np.float32).reshape(40, 3), np.arange(40)


def _rows():
    return tf.data.Dataset.from_tensor_slices((X, Y))


def _source(**options):
    return SampleSource(num_samples=40, fetch=lambda index: {"x": index}, describe=str, **options).read()["x"]


REFUSED = {
    "arrays": (lambda: (X, Y), r"inputs\[0\] of shape \(40, 3\), inputs\[1\] of shape \(40,\)\).*from_tensor_slices"),
    "arrays of zeros": (lambda: (X * 0, Y * 0), "the same arrays for each sample"),
    "constants": (lambda: (tf.constant(X) / 255, tf.constant(Y)), "the same arrays for each sample"),
    "a dict of arrays": (lambda: {"x": X, "y": Y}, r"inputs\[0\]\['x'\] of shape"),
    "batch of the same size": (lambda: _rows().batch(8).prefetch(1), r"made by batch\(8\), and batch_size=8 makes"),
    "batch of another size": (
        lambda: _rows().shuffle(9).batch(4).repeat(),
        r"made by batch\(4\).*leave batch_size out",
    ),
    "padded_batch": (lambda: tf.data.Dataset.range(40).padded_batch(4), r"made by padded_batch\(4\)"),
    "ragged_batch": (lambda: tf.data.Dataset.range(40).ragged_batch(4), r"made by ragged_batch\(4\)"),
}
WARNED = {
    "one array": (lambda: X, "the same arrays for each sample"),
    "arrays and a number": (lambda: (X, Y, 1.0), "the same arrays for each sample"),
    "whole batches": (lambda: _rows().batch(4, drop_remainder=True), r"made by batch(4)"),
    "mapped batches": (lambda: _rows().batch(4).map(lambda x, y: (x * 2, y)), r"made by batch(4)"),
    "batches of a source": (
        lambda: _source(batch_size=4),
        "batches of its own (batch_size=4) in mode TRAIN, and batch_",
    ),
    "pairs": (lambda: tf.data.Dataset.range(40).batch(2), "write `return mox.get_next(dataset)`"),
}
RIGHT = {
    "a picture and a number": lambda: (tf.zeros([8, 8, 3]), tf.constant(1)),
    "a picture and a mask": lambda: (tf.ones([8, 8, 3]), tf.zeros([8, 8])),
    "a source": _source,
    "random": lambda: (tf.random.normal([40, 3]), tf.random.normal([40])),
    "a vector": lambda: tf.constant([1.0, 2.0]),
    "a matrix of a source": lambda: (tf.fill([40, 3], mox.get_next(tf.data.Dataset.range(40))), tf.constant(Y)),
    "windows": lambda: (
        tf.data.Dataset.range(40).window(4, drop_remainder=True).flat_map(lambda window: window.batch(4))
    ),
    "sequences": lambda: tf.data.Dataset.range(60).batch(5, drop_remainder=True).map(lambda s: (s[:-1], s[1:])),
    "several read as one": lambda: mox.get_next(tf.data.Dataset.range(80).batch(8, drop_remainder=True)),
}


@pytest.mark.parametrize(("returned", "words"), REFUSED.values(), ids=REFUSED)
def test_arrays_and_batches_in_place_of_samples_are_refused(returned, words):
    with pytest.raises(mox.UsageError, match=words):
        _shapes(lambda mode: returned(), batch_size=8)  # noqa: ARG005


@pytest.mark.parametrize(("returned", "words"), WARNED.values(), ids=WARNED)
def test_what_looks_like_arrays_or_batches_in_place_of_samples_is_named_in_a_warning(returned, words, said):
    _shapes(lambda mode: returned(), batch_size=8)  # noqa: ARG005
    assert [words in line for line in said.lines if line.startswith("WARNING")] == [True]


@pytest.mark.parametrize("returned", RIGHT.values(), ids=RIGHT)
def test_samples_of_any_shape_are_taken_for_samples(returned, said):
    _shapes(lambda mode: returned(), batch_size=8)  # noqa: ARG005
    assert not [line for line in said.lines if line.startswith("WARNING")]


def test_arrays_and_batches_are_as_they_are_without_batch_size():
    assert _shapes(lambda mode: (X, Y)) == [(40, 3), (40,)]  # noqa: ARG005
    assert _shapes(lambda mode: _rows().batch(8), batch_size=8, auto_batch=False) == [  # noqa: ARG005
        (None, 3),
        (None,),
    ]


def test_a_batch_that_no_memory_holds_is_refused_before_it_is_made():
    with pytest.raises(mox.UsageError, match=r"batch_size is 1000000000000, and a sample of input_fn takes 8 bytes: "):
        _shapes(lambda _mode: _source(), batch_size=10**12)


@pytest.mark.parametrize(("sizes", "is_told"), [((5, 8), True), ((5, 5), False), ((5, None), False)])
def test_data_sets_of_unequal_length_side_by_side_are_told(sizes, is_told, said):
    def numbers(size):
        count = {"num_samples": size or 8, "num_epochs": 1 if size else None}
        return SampleSource(fetch=lambda index: {"n": index}, describe=str, **count).read()["n"]

    _shapes(lambda _mode: tuple(map(numbers, sizes)), batch_size=5)
    told = [line for line in said.lines if "side by side in mode TRAIN" in line]
    assert len(told) == is_told
    assert all("data sets of 5 and 8 samples" in line for line in told)
