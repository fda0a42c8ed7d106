"""Names on their way from `input_fn` to `output_fn`: as bytes, and as numbers in batches with rows of one length."""

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.sdk import SampleSource

NAMES = ["a.jpg", "山水画.jpg", "日落_2.png", "å ö ü.jpeg", "x"]
BYTES = [name.encode() for name in NAMES]


def _run(input_fn, run_mode=mox.ModeKeys.PREDICT, *, log_dir, batch_size=2, shapes=None, every=2, **options):
    """What `output_fn` gets of a model that lets its inputs through; trained first where there is no checkpoint."""

    def model_fn(inputs, mode):
        del mode
        if shapes is not None:
            shapes.append([tuple(tensor.shape) for tensor in inputs])
        weight = tf.compat.v1.get_variable("weight", [])
        info = {str(number): tensor for number, tensor in enumerate(inputs)}
        return mox.ModelSpec(loss=weight * 0.0, log_info={"weight": weight}, output_info=info)

    got = []
    common = {"input_fn": input_fn, "model_fn": model_fn, "batch_size": batch_size, "log_dir": log_dir, **options}
    if not list(log_dir.glob("*.index")):
        optimizer_fn = lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1)  # noqa: E731
        mox.run(run_mode=mox.ModeKeys.TRAIN, optimizer_fn=optimizer_fn, max_number_of_steps=1, **common)
    mox.run(run_mode=run_mode, output_fn=got.extend, output_every_n_steps=every, **common)
    return [[step[name] for name in sorted(step)] for step in got]


def _dataset(mode):
    return tf.data.Dataset.from_tensor_slices((BYTES, list(range(5)))).repeat(None if mode == "TRAIN" else 1)


def _source(mode):
    source = SampleSource(
        num_samples=5,
        fetch=lambda index: {"name": tf.gather(tf.constant(BYTES), index), "number": index},
        describe=str,
        num_epochs=None if mode == "TRAIN" else 1,
    )
    features = source.read()
    return features["name"], features["number"]


def _sequences(mode):
    """As the manual writes it."""
    name, number = _source(mode)
    sequence = tf.compat.v1.py_func(mox.bytes_to_sequence, inp=[name], Tout=tf.int64)
    sequence.set_shape([None])
    return number, sequence


@pytest.mark.parametrize("input_fn", [_dataset, _source], ids=["dataset", "source"])
@pytest.mark.parametrize("run_mode", [mox.ModeKeys.EVAL, mox.ModeKeys.PREDICT])
@pytest.mark.parametrize("batch_size", [2, 5])
def test_names_reach_output_fn_as_bytes(input_fn, run_mode, batch_size, tmp_path):
    steps = _run(input_fn, run_mode, log_dir=tmp_path, batch_size=batch_size)
    assert [name for names, _ in steps for name in names] == BYTES
    assert [number for _, numbers in steps for number in numbers] == [0, 1, 2, 3, 4]
    assert steps[0][0][1].decode() == "山水画.jpg"


def test_steps_of_which_nobody_sees_the_names_run_many_in_a_call(tmp_path):
    assert _run(_dataset, mox.ModeKeys.EVAL, log_dir=tmp_path, batch_size=1)[-1][0].tolist() == BYTES[-1:]

    def model_fn(inputs, mode):
        del mode
        loss = tf.compat.v1.get_variable("weight", []) * 0.0
        return mox.ModelSpec(loss=loss, log_info={"length": tf.reduce_mean(tf.strings.length(inputs[0]))})

    result = mox.run(input_fn=_dataset, model_fn=model_fn, run_mode=mox.ModeKeys.EVAL, batch_size=1, log_dir=tmp_path)
    assert result.metrics["length"] == sum(map(len, BYTES)) / 5
    assert result.steps == 5


@pytest.mark.parametrize("run_mode", [mox.ModeKeys.EVAL, mox.ModeKeys.PREDICT])
def test_names_in_numbers_are_filled_up_to_the_longest_of_their_batch(run_mode, tmp_path):
    shapes = []
    steps = _run(_sequences, run_mode, log_dir=tmp_path, shapes=shapes)
    assert shapes == [[(2,), (2, None)], [(None,), (None, None)]]  # TRAIN has batches of one size
    assert [sequences.shape for _, sequences in steps] == [(2, 13), (2, 13), (1, 1)]  # 3 bytes a Chinese character
    assert steps[0][1].dtype == np.int64
    assert steps[0][1][0].tolist() == [*b"a.jpg", 0, 0, 0, 0, 0, 0, 0, 0]
    assert [mox.sequence_to_bytes(row) for _, sequences in steps for row in sequences] == BYTES


def test_words_of_a_dataset_are_filled_up_too(tmp_path):
    def input_fn(mode):
        words = tf.data.Dataset.from_generator(
            lambda: [[1, 2, 3], [4], [], [5, 6]], output_signature=tf.TensorSpec([None], tf.int32)
        )
        return words.map(lambda row: (row, tf.size(row))).repeat(None if mode == "TRAIN" else 1)

    steps = _run(input_fn, log_dir=tmp_path)
    assert [rows.tolist() for rows, _ in steps] == [[[1, 2, 3], [4, 0, 0]], [[0, 0], [5, 6]]]
    assert [lengths.tolist() for _, lengths in steps] == [[3, 1], [0, 2]]


@pytest.mark.parametrize(
    "make",
    [
        lambda length: tf.zeros([length]),
        lambda length: tf.zeros([length, 2], tf.int64),
        lambda length: tf.fill([length], "x"),
        lambda length: tf.compat.v1.py_func(lambda n: np.zeros(n, np.int64), [length], tf.int64),
    ],
    ids=["floats", "rank 2", "strings", "rank unknown"],
)
def test_whatever_else_is_of_unequal_shapes_is_refused_with_the_way_out(make, tmp_path):
    def input_fn(mode):
        _, number = _source(mode)
        return make(number + 1)

    with pytest.raises(mox.DataError) as refusal:
        _run(input_fn, log_dir=tmp_path)
    assert str(refusal.value).startswith("the samples of input_fn in mode TRAIN are not all of one shape (")
    assert str(refusal.value).endswith(
        "batch them yourself with auto_batch=False. Only sequences of integers are filled up with zeros: "
        "those of rank 1 and unknown length, set_shape([None])."
    )


@pytest.mark.parametrize(
    ("string", "numbers"),
    [
        (b"", []),
        (b"a.jpg", [97, 46, 106, 112, 103]),
        ("é", [195, 169]),  # U+00E9 in UTF-8
        ("山".encode(), [229, 177, 177]),  # U+5C71
        (b"\xff\x00\x01", [255, 0, 1]),  # no UTF-8
        (np.bytes_(b"ab"), [97, 98]),
    ],
)
def test_bytes_become_one_number_each_and_back(string, numbers):
    sequence = mox.bytes_to_sequence(string)
    assert isinstance(sequence, np.ndarray)
    assert sequence.dtype == np.int64
    assert sequence.tolist() == numbers
    bts = string.encode() if isinstance(string, str) else string
    for padded in (sequence, [*numbers, 0, 0], np.array(numbers, np.uint8), tf.constant(numbers, tf.int32)):
        back = mox.sequence_to_bytes(padded)
        assert type(back) is bytes
        assert back == bts


@pytest.mark.parametrize("wrong", [3, None, [97], np.array([b"a", b"b"])], ids=repr)
def test_what_is_no_string_is_refused(wrong):
    with pytest.raises(mox.UsageError) as refusal:
        mox.bytes_to_sequence(wrong)
    assert str(refusal.value) == f"bytes_to_sequence takes bytes or a str, and got {wrong!r}."


@pytest.mark.parametrize("wrong", [[[97, 98]], [-1], [256], [0.5], "ab", 97], ids=repr)
def test_what_is_no_row_of_bytes_is_refused(wrong):
    with pytest.raises(mox.UsageError) as refusal:
        mox.sequence_to_bytes(wrong)
    assert str(refusal.value) == (
        f"sequence_to_bytes takes one row of integers from 0 to 255, and got {wrong!r}. "
        "A batch is gone through row by row."
    )
