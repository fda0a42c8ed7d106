"""Datasets that `input_fn` reads as one sample: `mox.get_next`, and the one-shot iterators of TF1."""

import threading

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox


@pytest.fixture
def collect():
    """Runs input_fn; returns the arrays of each step, and the static shapes that model_fn saw."""

    def collect(input_fn, *, steps=0, run_mode=mox.ModeKeys.TRAIN, **options):
        shapes, got = [], []

        def model_fn(inputs, mode):  # noqa: ARG001
            shapes.extend(tuple(tensor.shape) for tensor in inputs)
            loss = tf.compat.v1.get_variable("w", []) * 0.0
            return mox.ModelSpec(loss=loss, output_info={str(n): tensor for n, tensor in enumerate(inputs)})

        mox.run(
            input_fn=input_fn,
            model_fn=model_fn,
            optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
            output_fn=got.extend,
            output_every_n_steps=1,
            run_mode=run_mode,
            max_number_of_steps=steps,
            **options,
        )
        return [[step[name].tolist() for name in sorted(step)] for step in got], shapes

    return collect


def _vectors(number=8):
    for each in range(number):
        yield [each, each], each


def _dataset(number=8):
    signature = (tf.TensorSpec([2], tf.float32), tf.TensorSpec([], tf.int64))
    return tf.data.Dataset.from_generator(lambda: _vectors(number), output_signature=signature)


def test_get_next_gives_the_tensors_of_one_sample(collect):
    def input_fn(mode):
        del mode
        vector, number = mox.get_next(_dataset())
        return vector + 1, number * 10

    steps, shapes = collect(input_fn, batch_size=4)
    assert shapes == [(4, 2), (4,)]
    assert steps == [
        [[[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]], [0, 10, 20, 30]],
        [[[5.0, 5.0], [6.0, 6.0], [7.0, 7.0], [8.0, 8.0]], [40, 50, 60, 70]],
    ]


def test_get_next_gives_the_structure_of_the_elements(collect):
    def input_fn(mode):
        del mode
        numbers = tf.data.Dataset.range(3).map(lambda n: {"square": n * n, "pair": (n, -n)})
        sample = mox.get_next(numbers)
        assert sorted(sample) == ["pair", "square"]
        return sample["square"], sample["pair"][1]

    assert collect(input_fn, batch_size=3)[0] == [[[0, 1, 4], [0, -1, -2]]]


def test_get_next_reads_whole_batches_without_auto_batch(collect):
    def input_fn(mode):
        del mode
        vectors, numbers = mox.get_next(_dataset().batch(3))
        return vectors, numbers * 2

    steps, shapes = collect(input_fn, auto_batch=False, batch_size=3)
    assert shapes == [(None, 2), (None,)]
    assert [numbers for _, numbers in steps] == [[0, 2, 4], [6, 8, 10], [12, 14]]


def test_evaluation_sees_every_sample_of_a_dataset_once(collect, tmp_path):
    def input_fn(mode):
        dataset = tf.data.Dataset.range(5)
        return mox.get_next(dataset.repeat() if mode == mox.ModeKeys.TRAIN else dataset)

    steps, _ = collect(input_fn, steps=3, batch_size=2, log_dir=tmp_path)
    assert steps == [[[0, 1]], [[2, 3]], [[4, 0]]]
    steps, _ = collect(input_fn, run_mode=mox.ModeKeys.PREDICT, batch_size=2, checkpoint_path=tmp_path)
    assert steps == [[[0, 1]], [[2, 3]], [[4]]]


def test_a_run_goes_on_behind_the_elements_that_get_next_gave(collect, tmp_path):
    def input_fn(mode):
        del mode
        return mox.get_next(tf.data.Dataset.range(100, 120).repeat())

    collect(input_fn, steps=3, batch_size=2, log_dir=tmp_path)
    assert collect(input_fn, steps=5, batch_size=2, log_dir=tmp_path)[0] == [[[106, 107]], [[108, 109]]]


@pytest.mark.parametrize("mode", [mox.ModeKeys.TRAIN, mox.ModeKeys.PREDICT])
def test_a_file_that_is_no_image_is_named(collect, mode, tmp_path):
    for number in range(12):
        image = tf.io.encode_png(tf.zeros([4, 4, 3], tf.uint8)).numpy()
        (tmp_path / f"{number:02}.png").write_bytes(b"no image" if number == 7 else image)

    def folder_fn(mode):
        dataset = tf.data.Dataset.from_tensor_slices(sorted(str(path) for path in tmp_path.glob("*.png")))
        path = mox.get_next(dataset.repeat() if mode == mox.ModeKeys.TRAIN else dataset)
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(image, [2, 2])

    collect(lambda mode: folder_fn(mode)[:1], steps=1, batch_size=4, log_dir=tmp_path / "log")
    place = (
        {"log_dir": tmp_path / "log", "steps": 9}
        if mode == mox.ModeKeys.TRAIN
        else {"checkpoint_path": tmp_path / "log"}
    )
    words = r"Unknown image file format.* It fails for element 7 of the dataset that it reads \('.*/07\.png'\)\.$"
    with pytest.raises(mox.DataError, match=words):
        collect(folder_fn, run_mode=mode, batch_size=4, **place)


def test_two_datasets_are_read_side_by_side(collect):
    def input_fn(mode):
        del mode
        return mox.get_next(tf.data.Dataset.range(4)), mox.get_next(tf.data.Dataset.range(10, 20))

    assert collect(input_fn, batch_size=2)[0] == [[[0, 1], [10, 11]], [[2, 3], [12, 13]]]


@pytest.mark.parametrize("read", [mox.get_next, lambda dataset: next(iter(dataset))], ids=["get_next", "next"])
def test_a_dataset_may_have_been_made_before_the_run(collect, read):
    numbers = tf.data.Dataset.from_tensor_slices(np.arange(4))
    assert collect(lambda mode: read(numbers) + 1, batch_size=2)[0] == [[[1, 2]], [[3, 4]]]  # noqa: ARG005
    assert [int(n) for n in numbers] == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", [tf.data.Dataset, tf.compat.v1.data.Dataset], ids=["TF2", "TF1"])
def test_datasets_of_both_kinds_have_the_one_shot_iterators_of_tf1(collect, kind, caplog):
    def input_fn(run_mode, **kwargs):
        del run_mode, kwargs
        dataset = kind.from_generator(
            _vectors, output_types=(tf.float32, tf.int64), output_shapes=(tf.TensorShape([2]), tf.TensorShape([]))
        )
        vector, number = dataset.make_one_shot_iterator().get_next()
        return vector, number

    steps, shapes = collect(input_fn, batch_size=4)
    assert shapes == [(4, 2), (4,)]
    assert [numbers for _, numbers in steps] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert "make_one_shot_iterator" not in caplog.text  # TensorFlow would advise against what works here


def test_datasets_of_tf2_have_one_shot_iterators_while_input_fn_is_traced_and_nowhere_else(collect):
    dataset, there = tf.data.Dataset.range(4), {}

    def look(place):
        there[place] = hasattr(dataset, "make_one_shot_iterator")

    def mapped(number):
        look("a function of the dataset")
        return number

    def input_fn(mode):
        look(f"input_fn in {mode}")
        with tf.init_scope():
            look("eager code in input_fn")
        thread = threading.Thread(target=look, args=["another thread"])
        thread.start()
        thread.join()
        return mox.get_next(dataset.map(mapped))

    look("before")
    collect(input_fn, batch_size=2)
    look("after")
    assert there == {
        "before": False,
        "input_fn in TRAIN": True,
        "eager code in input_fn": False,
        "another thread": False,
        "a function of the dataset": False,
        "after": False,
    }


def test_one_shot_iterators_are_unknown_to_model_fn_as_ever():
    def model_fn(inputs, mode):  # noqa: ARG001
        tf.data.Dataset.range(4).make_one_shot_iterator()

    with pytest.raises(AttributeError, match="has no attribute 'make_one_shot_iterator'"):
        mox.run(
            input_fn=lambda mode: mox.get_next(tf.data.Dataset.range(4)),  # noqa: ARG005
            model_fn=model_fn,
            optimizer_fn=lambda: None,
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=2,
        )


def test_a_dataset_that_is_read_twice_is_refused(collect):
    def input_fn(mode):
        del mode
        numbers = tf.data.Dataset.range(4)
        return mox.get_next(numbers), mox.get_next(numbers)

    with pytest.raises(mox.UsageError) as refusal:
        collect(input_fn, steps=1, batch_size=1)
    assert str(refusal.value) == (
        "a dataset is read twice in input_fn, which is called once and describes one sample. Read it once; "
        "dataset.batch(n) puts several elements into one, and `return dataset` reads all of it."
    )


def test_get_next_outside_of_input_fn_is_refused():
    with pytest.raises(mox.UsageError) as refusal:
        mox.get_next(tf.data.Dataset.range(4))
    assert str(refusal.value) == (
        "mox.get_next gives the tensors of one sample: call it inside input_fn. Elsewhere a dataset is read by "
        "`for element in dataset`."
    )


def test_get_next_of_what_is_no_dataset_is_refused(collect):
    with pytest.raises(mox.UsageError, match=r"^mox\.get_next was given \[1, 2\]; it reads a tf\.data\.Dataset\.$"):
        collect(lambda mode: mox.get_next([1, 2]), steps=1, batch_size=1)  # noqa: ARG005


def test_an_iterator_that_was_made_outside_is_refused_with_what_to_read(regression):
    elements = iter(tf.data.Dataset.from_tensor_slices((regression.features, regression.targets)).repeat())
    with pytest.raises(
        mox.UsageError, match=r"reads an iterator that was made outside of it: .*mox\.get_next\(dataset\)"
    ):
        mox.run(
            input_fn=lambda mode: next(elements),  # noqa: ARG005
            model_fn=regression.model_fn,
            optimizer_fn=regression.sgd,
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=4,
            max_number_of_steps=2,
        )


def test_an_initializable_iterator_of_input_fn_is_read_from_its_beginning(regression):
    def input_fn(mode):
        del mode
        numbers = tf.data.Dataset.from_tensor_slices([1.0, 2.0, 6.0])
        iterator = tf.compat.v1.data.make_initializable_iterator(numbers)
        tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
        return iterator.get_next()

    def model_fn(inputs, mode):
        del mode
        weight = tf.compat.v1.get_variable("weight", initializer=1.0)
        return mox.ModelSpec(loss=tf.reduce_mean(inputs[0] * weight), log_info={"mean": tf.reduce_mean(inputs[0])})

    result = mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=regression.sgd,
        run_mode="TRAIN",
        batch_size=3,
        max_number_of_steps=1,
    )
    assert result.metrics["mean"] == 3.0
