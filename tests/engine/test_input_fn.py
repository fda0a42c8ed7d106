"""`input_fn` in every form of the manual's chapter 3, and what becomes of it."""

import threading
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.sdk import SampleSource


def _collect(input_fn, *, steps=None, run_mode=mox.ModeKeys.TRAIN, **options):
    """The arrays of `inputs` that `model_fn` was given in each step, and the kinds and static shapes it saw."""
    seen, got = [], []

    def model_fn(inputs, mode):
        tensors = tf.nest.flatten(inputs)
        seen.append((type(inputs), [tuple(tensor.shape) for tensor in tensors], mode))
        loss = tf.compat.v1.get_variable("w", []) * 0.0
        return mox.ModelSpec(loss=loss, output_info={str(n): tensor for n, tensor in enumerate(tensors)})

    mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        output_fn=got.extend,
        output_every_n_steps=1,
        run_mode=run_mode,
        max_number_of_steps=steps or 0,
        **options,
    )
    return [[step[name] for name in sorted(step)] for step in got], seen


def _numbers(count, **options):
    return SampleSource(
        num_samples=count,
        fetch=lambda index: {"number": index, "square": index * index},
        describe=lambda index: f"sample {index}",
        **options,
    )


def _named_mode(mode):
    return tf.constant(mode)


def _named_run_mode(run_mode):
    return tf.constant(run_mode)


def _mode_and_more(mode, **kwargs):
    assert kwargs == {}
    return tf.constant(mode)


def _run_mode_and_more(run_mode, **kwargs):
    assert kwargs == {}
    return tf.constant(run_mode)


@pytest.mark.parametrize("input_fn", [_named_mode, _named_run_mode, _mode_and_more, _run_mode_and_more])
def test_the_mode_comes_under_any_name(input_fn):
    steps, _ = _collect(input_fn, steps=1, batch_size=2)
    assert steps[0][0].tolist() == [b"TRAIN", b"TRAIN"]


@pytest.mark.parametrize(
    ("returned", "values"),
    [
        (lambda: tf.constant([1.0, 2.0]), [[1.0, 2.0]]),
        (lambda: [tf.constant([1.0, 2.0])], [[1.0, 2.0]]),
        (lambda: (tf.constant([1.0, 2.0]), tf.constant(3)), [[1.0, 2.0], 3]),
        (lambda: [tf.constant([1.0, 2.0]), tf.constant(3)], [[1.0, 2.0], 3]),
        (lambda: (np.float32(4.0), 5), [4.0, 5]),
    ],
    ids=["one tensor", "a list of one", "a tuple", "a list", "numbers"],
)
def test_inputs_are_a_list_whatever_input_fn_returns(returned, values):
    steps, seen = _collect(lambda mode: returned(), steps=2, batch_size=3)  # noqa: ARG005
    assert seen == [(list, [(3, *np.shape(value)) for value in values], mox.ModeKeys.TRAIN)]
    for step in steps:
        for array, value in zip(step, values, strict=True):
            np.testing.assert_array_equal(array, np.stack([value] * 3))


@pytest.mark.parametrize("batching", [{"auto_batch": False, "batch_size": 2}, {"batch_size": None}])
def test_batches_of_input_fn_stay_as_they_are(batching):
    def input_fn(mode):
        del mode
        return tf.constant([[1.0], [2.0]]), tf.constant([3, 4])

    steps, seen = _collect(input_fn, steps=2, **batching)
    assert seen == [(list, [(2, 1), (2,)], mox.ModeKeys.TRAIN)]
    assert [[array.tolist() for array in step] for step in steps] == [[[[1.0], [2.0]], [3, 4]]] * 2


def test_a_source_is_read_in_its_order_and_round_and_round_in_batches():
    def input_fn(mode):
        del mode
        features = _numbers(5).read()
        return features["number"], features["square"] + 1

    steps, _ = _collect(input_fn, steps=4, batch_size=2)
    order = [0, 1, 2, 3, 4, 0, 1, 2]
    assert np.concatenate([step[0] for step in steps]).tolist() == order
    assert np.concatenate([step[1] for step in steps]).tolist() == [n * n + 1 for n in order]


def test_only_the_features_that_are_used_are_made():
    def input_fn(mode):
        del mode
        return SampleSource(
            num_samples=3,
            fetch=lambda index: {"number": index, "bad": tf.io.decode_png(tf.strings.as_string(index))},
            describe=str,
        ).read()["number"]

    steps, _ = _collect(input_fn, steps=1, batch_size=3)
    assert steps[0][0].tolist() == [0, 1, 2]


def test_several_sources_are_zipped():
    def input_fn(mode):
        del mode
        return _numbers(3).read()["number"], _numbers(4).read()["number"] + 10

    steps, _ = _collect(input_fn, steps=3, batch_size=2)
    pairs = np.concatenate([np.stack(step, 1) for step in steps]).tolist()
    assert pairs == [[0, 10], [1, 11], [2, 12], [0, 13], [1, 10], [2, 11]]


def test_each_of_two_shuffled_sources_of_one_length_has_an_order_of_its_own():
    def input_fn(mode):
        del mode
        return _numbers(30, shuffle=True).read()["number"], _numbers(30, shuffle=True).read()["number"]

    steps, _ = _collect(input_fn, steps=2, batch_size=30)
    for left, right in steps:
        assert sorted(left) == sorted(right) == list(range(30))
        assert (left == right).mean() < 0.3  # one in thirty by chance


def test_the_shorter_of_two_sources_ends_the_input():
    def input_fn(mode):
        del mode
        return _numbers(3).read()["number"], _numbers(5, num_epochs=1).read()["number"]

    steps, _ = _collect(input_fn, batch_size=1)
    assert [[int(array[0]) for array in step] for step in steps] == [[0, 0], [1, 1], [2, 2], [0, 3], [1, 4]]


def test_data_sets_are_told_apart_by_the_mode(tmp_path):
    def input_fn(mode):
        return _numbers(4).read()["number"] + {mox.ModeKeys.TRAIN: 0, mox.ModeKeys.PREDICT: 100}[mode]

    assert _collect(input_fn, steps=1, batch_size=2, log_dir=tmp_path)[0][0][0].tolist() == [0, 1]
    predicted, _ = _collect(input_fn, steps=1, batch_size=2, log_dir=tmp_path, run_mode=mox.ModeKeys.PREDICT)
    assert predicted[0][0].tolist() == [100, 101]


def test_a_shuffled_source_gives_every_epoch_whole_in_an_order_of_its_own():
    steps, _ = _collect(lambda mode: _numbers(50, shuffle=True).read()["number"], steps=10, batch_size=10)  # noqa: ARG005
    numbers = np.concatenate([step[0] for step in steps]).reshape(2, 50)
    assert [sorted(epoch) for epoch in numbers.tolist()] == [list(range(50))] * 2
    assert numbers[0].tolist() != numbers[1].tolist()
    assert numbers[0].tolist() != list(range(50))


def test_a_dataset_may_be_returned():
    def input_fn(mode):
        del mode
        return tf.data.Dataset.range(7).map(lambda n: (n, {"half": tf.cast(n, tf.float32) / 2}))

    steps, seen = _collect(input_fn, batch_size=3)
    assert seen == [(list, [(3,), (3,)], mox.ModeKeys.TRAIN)]
    assert [[array.tolist() for array in step] for step in steps] == [
        [[0, 1, 2], [0.0, 0.5, 1.0]],
        [[3, 4, 5], [1.5, 2.0, 2.5]],
    ]


class _Pair(NamedTuple):
    floats: np.ndarray
    wholes: np.ndarray


@pytest.mark.parametrize("kind", [tf.data.Dataset, tf.compat.v1.data.Dataset], ids=["of TF2", "of TF1"])
def test_large_arrays_of_a_dataset_come_as_they_are_and_are_no_part_of_the_graph(kind):
    arrays = {
        "pair": _Pair(np.arange(2**18, dtype=np.float64).reshape(4, -1), np.arange(2**18).reshape(4, -1)),
        "flags": np.eye(4, 2**19) > 0,
        "small": np.float32([[1], [2], [3], [4]]),
        "listed": [[1, 2], [3, 4], [5, 6], [7, 8]],
    }
    sizes = []

    def input_fn(mode):  # noqa: ARG001
        slices = kind.from_tensor_slices(arrays)
        whole = kind.from_tensors(arrays["pair"].floats).repeat()
        sizes.append(tf.compat.v1.get_default_graph().as_graph_def().ByteSize())
        return tf.data.Dataset.zip((slices, whole))

    steps, _ = _collect(input_fn, steps=4, auto_batch=False)
    assert (sizes[0] < 10_000, len(steps)) == (True, 4)
    for row, step in enumerate(steps):
        pairs = [array[row] for array in arrays["pair"]]
        expected = [arrays["flags"][row], arrays["listed"][row], *pairs, arrays["small"][row], arrays["pair"].floats]
        for found, given in zip(step, expected, strict=True):
            np.testing.assert_array_equal(found, given)
        assert [found.dtype for found in step] == [bool, np.int32, np.float64, np.int64, np.float32, np.float64]


def test_a_dataset_from_a_python_generator_may_be_returned():
    def generate():
        for number in range(6):
            yield [number, number], number

    def input_fn(mode):
        del mode
        spec = (tf.TensorSpec([2], tf.float32), tf.TensorSpec([], tf.int64))
        return tf.data.Dataset.from_generator(generate, output_signature=spec)

    steps, seen = _collect(input_fn, batch_size=2)
    assert seen[0][1] == [(2, 2), (2,)]
    assert np.concatenate([step[1] for step in steps]).tolist() == list(range(6))


def test_the_tensors_of_a_one_shot_iterator_are_samples_as_in_chapter_3_3():
    def generate():
        for number in range(8):
            yield [number, number], number

    def input_fn(run_mode, **kwargs):
        del run_mode, kwargs
        dataset = tf.compat.v1.data.Dataset.from_generator(
            generate,
            output_types=(tf.float32, tf.int64),
            output_shapes=(tf.TensorShape([2]), tf.TensorShape([])),
        )
        vector, number = dataset.make_one_shot_iterator().get_next()
        return vector * 10, number

    steps, seen = _collect(input_fn, batch_size=2)
    assert seen[0][1] == [(2, 2), (2,)]
    assert np.concatenate([step[0] for step in steps]).tolist() == [[10.0 * n] * 2 for n in range(8)]
    assert np.concatenate([step[1] for step in steps]).tolist() == list(range(8))


def test_a_dataset_is_read_by_next_and_iter_too_beside_another_source():
    def input_fn(mode):
        del mode
        squares = tf.data.Dataset.range(1, 6).map(lambda n: {"square": n * n})
        return next(iter(squares))["square"], _numbers(3).read()["number"]

    steps, _ = _collect(input_fn, batch_size=1)
    assert [[int(array[0]) for array in step] for step in steps] == [[1, 0], [4, 1], [9, 2], [16, 0], [25, 1]]


def test_a_run_goes_on_behind_the_elements_that_an_iterator_gave(tmp_path):
    def input_fn(mode):
        del mode
        numbers = tf.data.Dataset.range(100, 120).repeat()
        return tf.compat.v1.data.make_one_shot_iterator(numbers).get_next()

    _collect(input_fn, steps=3, batch_size=2, log_dir=tmp_path)
    steps, _ = _collect(input_fn, steps=5, batch_size=2, log_dir=tmp_path)
    assert np.concatenate([step[0] for step in steps]).tolist() == [106, 107, 108, 109]


def test_an_iterator_that_is_read_twice_is_refused():
    def input_fn(mode):
        del mode
        iterator = iter(tf.data.Dataset.range(5))
        return next(iterator), next(iterator)

    with pytest.raises(mox.UsageError, match=r"an iterator is read twice in input_fn, .* Read it once; dataset\.batch"):
        _collect(input_fn, steps=1, batch_size=1)


def test_datasets_are_read_as_ever_outside_of_input_fn():
    def input_fn(mode):
        del mode
        with tf.init_scope():
            total = sum(int(n) for n in tf.data.Dataset.range(5))
        return tf.constant(total)

    assert _collect(input_fn, steps=1, batch_size=1)[0][0][0].tolist() == [10]


def test_python_in_input_fn_runs_once_for_each_sample():
    lock, seen = threading.Lock(), []

    def note(number):
        with lock:
            seen.append(int(number))
        return number

    def input_fn(mode):
        del mode
        number = _numbers(30, num_epochs=1).read()["number"]
        noted = tf.py_function(note, [number], tf.int64)
        noted.set_shape([])
        return noted, noted * 2

    steps, _ = _collect(input_fn, batch_size=3)
    assert np.concatenate([step[0] for step in steps]).tolist() == list(range(30))
    assert np.concatenate([step[1] for step in steps]).tolist() == list(range(0, 60, 2))
    assert sorted(seen) == list(range(30))


def test_the_traced_ops_run_for_several_samples_at_a_time():
    together = threading.Barrier(2)

    def meet(number):
        together.wait(timeout=120)  # breaks, and fails the step, where one sample comes after another
        return number

    def input_fn(mode):
        del mode
        met = tf.numpy_function(meet, [_numbers(8, num_epochs=1).read()["number"]], tf.int64)
        met.set_shape([])
        return met

    # Python code shares one lock, but waiting lets go of it: only the pipeline could keep the two apart.
    steps, _ = _collect(input_fn, batch_size=4)
    assert np.concatenate([step[0] for step in steps]).tolist() == list(range(8))


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "input_fn gives None for inputs[0] in mode TRAIN, and a step is fed tensors: leave it out,"),
        ((), "input_fn returned () for inputs in mode TRAIN. It returns a tensor, a tuple or list of tensors, or a"),
        ({1, 2}, "input_fn returned {1, 2} for inputs[0] in mode TRAIN. It returns a tensor, a tuple or list"),
        ([1, None], "input_fn gives None for inputs[1] in mode TRAIN,"),
        ({"image": 1, "mask": None}, "input_fn gives None for inputs[0]['mask'] in mode TRAIN,"),
        ((1, [2.0, 3.0]), "input_fn returned [2.0, 3.0] as inputs[1] in mode TRAIN: a list in it holds tensors,"),
    ],
)
def test_what_is_no_input_is_refused(returned, words):
    with pytest.raises(mox.UsageError) as refusal:
        _collect(lambda mode: returned, steps=1, batch_size=1)  # noqa: ARG005
    assert str(refusal.value).startswith(words)


def test_samples_of_different_shapes_are_refused_with_the_way_out():
    def input_fn(mode):
        del mode
        number = _numbers(4).read()["number"]
        return tf.zeros([number + 1])

    with pytest.raises(mox.DataError, match=r"the samples of input_fn in mode TRAIN are not all of one shape.*resize"):
        _collect(input_fn, steps=1, batch_size=2)


def test_samples_of_different_shapes_are_fine_one_at_a_time():
    steps, seen = _collect(lambda mode: tf.zeros([_numbers(3).read()["number"] + 1]), steps=3, batch_size=1)  # noqa: ARG005
    assert seen[0][1] == [(1, None)]
    assert [step[0].shape for step in steps] == [(1, 1), (1, 2), (1, 3)]


def test_an_error_in_a_generator_or_a_file_is_told_in_its_own_words(tmp_path):
    def generate():
        yield 1
        raise ValueError("row 1 of my file is broken")

    spec = tf.TensorSpec([], tf.int64)
    broken = tmp_path / "broken"
    broken.write_text("no records " * 10)
    inputs = {
        "ValueError: row 1 of my file is broken": lambda: tf.data.Dataset.from_generator(
            generate, output_signature=spec
        ),
        r"corrupted record at 0": lambda: tf.data.TFRecordDataset(str(broken)).map(tf.strings.length),
    }
    for words, input_fn in inputs.items():
        for steps in (1, 2):  # the last one alone, and all in one call
            with pytest.raises(mox.DataError, match=f"the input of input_fn cannot be read in mode TRAIN: {words}"):
                _collect(lambda mode: input_fn(), steps=steps, batch_size=2)  # noqa: ARG005, B023


def test_an_error_in_input_fn_is_the_users_own():
    def input_fn(mode):
        del mode
        raise ZeroDivisionError("of the user")

    with pytest.raises(ZeroDivisionError, match="of the user"):
        _collect(input_fn, steps=1, batch_size=1)
