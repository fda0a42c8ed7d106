"""The state of `input_fn`: tables, variables, seeds; datasets from outside of it, whose order is that of the run."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.input import read_iterators
from mox_core.testing.reading import read

LOOKUP = tf.lookup
WORDS = tf.constant(["a", "b", "c"])


def _first_inputs(input_fn, limit=3, *, mode=mox.ModeKeys.TRAIN, start=None):
    """The first input of some elements, as the pipeline of `mox.run` gives it."""
    elements = read(lambda mode: input_fn(), mode, limit=limit, start=start)  # noqa: ARG005
    return [element.values[0].tolist() for element in elements]


# ---- tables


def _static():
    return LOOKUP.StaticHashTable(LOOKUP.KeyValueTensorInitializer(["a", "b"], [7, 8]), -1)


def _mutable(**options):
    table = LOOKUP.experimental.MutableHashTable(tf.string, tf.int32, -1, **options)
    table.insert(["a", "b"], [1, 2])
    table.insert(["a", "b"], [7, 8])  # in their order
    return table


def _dense():
    table = LOOKUP.experimental.DenseHashTable(tf.string, tf.int32, -1, "", "deleted")
    table.insert(["a", "b"], [7, 8])
    return table


def _from_dataset():
    pairs = tf.data.Dataset.from_tensor_slices((["a", "b"], [7, 8]))
    return tf.data.experimental.table_from_dataset(pairs, default_value=-1)


def _keras_with_vocabulary():
    return keras.layers.StringLookup(vocabulary=[*"012345", "a", "b"])


TABLES = {
    "static": _static,
    "mutable": _mutable,
    "mutable without a name": lambda: _mutable(experimental_is_anonymous=True),
    "dense": _dense,
    "from a dataset": _from_dataset,
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_a_table_of_input_fn_is_filled_before_the_first_element(make):
    def mapped():
        table = make()
        return tf.data.Dataset.from_tensor_slices(WORDS).map(table.lookup)

    def direct():
        return make().lookup(mox.get_next(tf.data.Dataset.from_tensor_slices(WORDS)))

    for input_fn in (mapped, direct, mapped):  # again: nothing is left of the tables before
        assert _first_inputs(input_fn) == [7, 8, -1]


def test_tables_of_files_and_layers_of_keras_are_filled_and_adapted(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("a\nb\n")

    def vocabulary():
        whole, number = LOOKUP.TextFileIndex.WHOLE_LINE, LOOKUP.TextFileIndex.LINE_NUMBER
        initializer = LOOKUP.TextFileInitializer(str(file), tf.string, whole, tf.int64, number)
        return LOOKUP.StaticVocabularyTable(initializer, num_oov_buckets=1).lookup

    def adapted(layer, data):
        layer.adapt(np.array(data))
        return layer

    words = tf.data.Dataset.from_tensor_slices(WORDS)
    assert _first_inputs(lambda: words.map(vocabulary())) == [0, 1, 2]
    assert _first_inputs(lambda: words.map(_keras_with_vocabulary())) == [7, 8, 0]
    assert _first_inputs(lambda: words.map(adapted(keras.layers.StringLookup(), ["b", "b", "a"]))) == [2, 1, 0]
    numbers = tf.data.Dataset.from_tensor_slices(tf.constant([2, 6], tf.int64))
    assert _first_inputs(lambda: numbers.map(adapted(keras.layers.IntegerLookup(), [6, 6, 2]))) == [2, 1]
    floats = tf.data.Dataset.from_tensor_slices([2.0, 6.0])
    scaled = _first_inputs(lambda: floats.map(adapted(keras.layers.Normalization(axis=None), [2.0, 6.0])))
    np.testing.assert_allclose(np.ravel(scaled), [-1.0, 1.0])  # mean 4, deviation 2


def test_a_layer_cannot_be_adapted_to_what_has_no_values_yet():
    def input_fn():
        layer = keras.layers.Normalization(axis=None)
        layer.adapt(tf.data.Dataset.from_tensor_slices([1.0, 2.0]).batch(2))
        return tf.data.Dataset.range(3).map(lambda n: layer(tf.cast(n, tf.float32)))

    with pytest.raises(mox.UsageError, match=r"adapts Normalization to what it makes itself.*give adapt an array"):
        _first_inputs(input_fn)


# ---- variables, seeds, and what else is done with a sample


def test_a_variable_of_input_fn_is_set_once_and_read_by_every_sample():
    def input_fn():
        scale = tf.Variable(2.0)
        scale.assign(3.0)
        shift = tf.compat.v1.get_variable("shift", initializer=1.0)
        return tf.cast(mox.get_next(tf.data.Dataset.range(5)), tf.float32) * scale + shift

    assert _first_inputs(input_fn) == [1.0, 4.0, 7.0]


GENERATOR = tf.random.Generator.from_seed(1)


def _counted(variable):
    return tf.data.Dataset.range(3).map(lambda n: variable.assign_add(1.0) + tf.cast(n, tf.float32))


def _counting():
    variable = tf.Variable(0.0)
    variable.assign_add(1.0)
    return variable + tf.cast(mox.get_next(tf.data.Dataset.range(3)), tf.float32)


def _inserted_by_samples():
    table = LOOKUP.experimental.MutableHashTable(tf.int64, tf.int64, -1)
    number = mox.get_next(tf.data.Dataset.range(3))
    table.insert(number, number)
    return number


@pytest.mark.parametrize(
    ("input_fn", "words"),
    [
        (lambda: _counted(tf.Variable(0.0)), r"changes a variable by AssignAddVariableOp.*Count by the dataset itself"),
        (_counting, r"changes a variable by AssignAddVariableOp"),
        (_inserted_by_samples, r"changes a lookup table by LookupTableInsertV2.*values that depend on no sample"),
        (
            lambda: tf.random.Generator.from_seed(1).normal([]),
            r"tf\.random\.Generator that it makes.*Draw by tf\.random",
        ),
        (lambda: tf.data.Dataset.range(3).map(lambda n: GENERATOR.normal([])), r"draws from a tf\.random\.Generator, "),  # noqa: ARG005
    ],
    ids=["counted in a map", "counted", "inserted", "generator inside", "generator outside"],
)
def test_state_that_samples_change_is_refused_with_what_to_write(input_fn, words):
    with pytest.raises(mox.UsageError, match=words):
        _first_inputs(input_fn)


OUTSIDE = keras.random.SeedGenerator(3)


@pytest.mark.parametrize("make", [lambda: keras.random.SeedGenerator(3), lambda: OUTSIDE], ids=["inside", "outside"])
def test_what_keras_draws_in_input_fn_goes_on_where_it_was(make):
    def mapped():
        seeds = make()
        return tf.data.Dataset.range(8).map(lambda n: keras.random.uniform([], seed=seeds) + tf.cast(n, tf.float32))

    def direct():
        number = tf.cast(mox.get_next(tf.data.Dataset.range(8)), tf.float32)
        return keras.random.uniform([], seed=make()) + number

    for input_fn in (mapped, direct):
        whole = _first_inputs(input_fn, 8)
        assert len({value % 1 for value in whole}) == 8
        assert _first_inputs(input_fn, 5, start=[3]) == whole[3:]


def test_what_input_fn_prints_and_asserts_is_done_once_or_with_each_sample(capfd):
    def input_fn():
        number = mox.get_next(tf.data.Dataset.range(4))
        tf.print("begin")
        tf.print("number", number)
        tf.debugging.assert_less(number, tf.constant(3, tf.int64), "too large")
        return number

    with pytest.raises(mox.DataError, match=r"mode EVAL: assertion failed: \[too large\].*element 3 of the dataset"):
        _first_inputs(input_fn, None, mode=mox.ModeKeys.EVAL)
    printed = capfd.readouterr().err.splitlines()
    assert printed.count("begin") == 1
    assert {f"number {number}" for number in range(4)} <= set(printed)


# ---- datasets from outside

COUNTS = """
import json, sys
import tensorflow as tf
import mox_core as mox

kind, folder = sys.argv[1:]
numbers = tf.data.Dataset.range(40)
if kind == "set_seed":
    tf.random.set_seed(5)
out = {
    "shuffled": lambda: numbers.shuffle(40).repeat(),
    "set_seed": lambda: numbers.shuffle(40).repeat(),
    "seed": lambda: numbers.shuffle(40, seed=5).repeat(),
    "sampled": lambda: tf.data.Dataset.sample_from_datasets([numbers.take(20).repeat(), numbers.skip(20).repeat()]),
    "nested": lambda: numbers.batch(8).repeat().flat_map(lambda n: tf.data.Dataset.from_tensor_slices(n).shuffle(8)),
    "inner": lambda: numbers.shuffle(40),
}[kind]()
input_fn = {
    "inner": lambda mode: tf.data.Dataset.range(5).repeat().flat_map(lambda n: out),
    "seed": lambda mode: mox.get_next(out),
}.get(kind, lambda mode: out)
next(iter(out))  # somebody has looked at it: its first epoch has begun
got = []
for steps in (7, 25):  # a run, and one that goes on, each with batches of 8
    mox.run(
        input_fn=input_fn, run_mode="TRAIN", batch_size=8, max_number_of_steps=steps, log_dir=folder + sys.argv[1],
        optimizer_fn=mox.get_optimizer_fn("sgd", 0.0), output_fn=lambda outputs: got.extend(outputs),
        output_every_n_steps=1, model_fn=lambda inputs, mode: mox.ModelSpec(
            loss=tf.compat.v1.get_variable("w", initializer=0.0), output_info={"numbers": inputs[0]}),
    )
print(json.dumps([int(number) for each in got for number in each["numbers"]]))
"""


@pytest.mark.parametrize("kind", ["shuffled", "set_seed", "seed", "sampled", "nested", "inner"])
def test_a_dataset_from_outside_has_the_order_of_the_run_also_when_it_goes_on(kind, run_python, tmp_path):
    order = json.loads(run_python(COUNTS, kind, str(tmp_path / "log-")).stdout.splitlines()[-1])
    if kind == "sampled":  # each half goes round in order
        halves = [[n for n in order if (n >= 20) == upper] for upper in (False, True)]
        assert all(np.diff(half).tolist() == [1 if n % 20 < 19 else -19 for n in half[:-1]] for half in halves)
        return
    epochs = np.reshape(order, [5, 40])
    assert (np.sort(epochs, axis=1) == np.arange(40)).all()
    # A shuffle inside a function of the dataset begins anew in each call, with the same seed.
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == (1 if kind == "nested" else 5)
    if kind == "seed":  # the order that tf.data gives to it, from its beginning
        tf.compat.v1.random.set_random_seed(None)
        expected = tf.data.Dataset.range(40).shuffle(40, seed=5).repeat(5)
        assert order == [int(number) for number in expected]


def test_a_dataset_from_outside_that_cannot_be_copied_is_refused_and_one_that_is_not_shuffled_is_not_looked_into():
    large = tf.data.Dataset.from_tensor_slices(tf.zeros([9000, 8192], tf.int32))  # 281 MiB
    shuffled = large.shuffle(2)
    with pytest.raises(mox.UsageError, match=r"its arrays are too large to be copied.*Shuffle inside input_fn"):
        _first_inputs(lambda: shuffled.map(lambda row: row[0]), 1)
    assert _first_inputs(lambda: large.map(lambda row: row[0]).shuffle(2), 1) == [0]
    assert _first_inputs(lambda: shuffled.map(lambda row: row[0]), 1, mode=mox.ModeKeys.EVAL) == [0]


def test_random_numbers_of_a_dataset_from_outside_are_named_in_a_warning(said):
    drawn = tf.data.Dataset.range(3).map(lambda n: tf.random.uniform([]) + tf.cast(n, tf.float32))
    _first_inputs(lambda: drawn)
    assert any("made outside of input_fn draws random numbers in its functions" in line for line in said.lines)


# ---- iterators of Python


def _letters():
    yield from range(40)


class _Endless:
    def __init__(self):
        self.number = -1

    def __iter__(self):
        return self

    def __next__(self):
        self.number += 1
        return self.number


ITERATORS = {"generator": _letters, "cycle": lambda: itertools.cycle(range(40)), "object": _Endless}


@pytest.mark.parametrize("outside", [True, False], ids=["dataset outside", "dataset inside"])
@pytest.mark.parametrize("kind", ITERATORS)
def test_an_iterator_that_was_read_before_is_refused_in_a_run_that_goes_on(kind, outside, said):
    iterator = ITERATORS[kind]()

    def make(function=lambda: iterator):
        return tf.data.Dataset.from_generator(function, output_signature=tf.TensorSpec([], tf.int64))

    made = make()
    input_fn = (lambda: made) if outside else make
    assert _first_inputs(input_fn) == [0, 1, 2]
    assert not [line for line in said.lines if "Python iterator" in line]
    words = rf"^input_fn in mode TRAIN reads a Python iterator \({type(iterator).__name__}\) that was read before.*"
    with pytest.raises(mox.UsageError, match=words + r"Give from_generator a function that makes a new one"):
        _first_inputs(input_fn, start=[3])
    for mode in (mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL):  # it has no place there, and goes on
        said.clear()
        assert _first_inputs(input_fn, mode=mode)[0] > 2
        assert [f"in mode {mode} reads a Python iterator" in line for line in said.lines] == [True]
    for start in (None, [3]):
        first = start[0] if start else 0
        assert _first_inputs(lambda: make(ITERATORS[kind]), start=start) == [first, first + 1, first + 2]


def test_iterators_are_known_for_as_long_as_somebody_else_has_them():
    known = read_iterators._Known()
    kept = [itertools.count(), _Endless()]
    assert [known.add(each) for each in kept * 2] == [False, False, True, True]
    assert not any(known.add(each) for _ in range(9) for each in (itertools.count(), _Endless()))
    assert known._others[0] is kept[0]
    assert len(known._others) == 2  # the one that is kept, and the last
    assert list(known._weak.values()) == [kept[1]]


PYTHON = tf.data.Dataset.range(3).map(lambda n: n + tf.numpy_function(lambda: 1, [], tf.int64))
SHUFFLES = tf.data.Dataset.range(2).flat_map(lambda n: tf.data.Dataset.range(2 * n, 2 * n + 2).shuffle(2)).repeat()
READ = tf.data.Dataset.from_generator(_letters, output_signature=tf.TensorSpec([], tf.int64))
UNPLACED = {
    "python": lambda: tf.py_function(lambda: 1, [], tf.int64),
    "python in a map": lambda: tf.data.Dataset.range(3).map(lambda n: n + tf.py_function(lambda: 1, [], tf.int64)),
    "python outside": lambda: PYTHON,
    "shuffle": lambda: tf.data.Dataset.range(2).interleave(lambda n: tf.data.Dataset.range(n, 9).shuffle(8)).repeat(),
    "shuffle outside": lambda: SHUFFLES,
    "neither": lambda: READ.map(lambda n: tf.py_function(lambda value: value, [n], tf.int64)).shuffle(4).repeat(),
}


@pytest.mark.parametrize("kind", UNPLACED)
def test_what_belongs_to_no_sample_is_named_in_a_warning(kind, said):
    _first_inputs(UNPLACED[kind])
    python = [line for line in said.lines if "calls a Python function without an argument" in line]
    shuffled = [line for line in said.lines if "it has the same order there in each epoch" in line]
    assert (len(python), len(shuffled)) == (kind.startswith("python"), kind.startswith("shuffle"))
    said.clear()
    _first_inputs(UNPLACED[kind], mode=mox.ModeKeys.EVAL)
    assert len([line for line in said.lines if "WARNING" in line]) == len(python)


def _noise(_number):
    return tf.data.Dataset.range(2).map(lambda n: tf.cast(n, tf.float32) + tf.random.uniform([]))


def _some(_number):
    return tf.data.Dataset.range(9).filter(lambda _: tf.random.uniform([]) < 0.5)


PARALLEL = {
    "in it": (lambda numbers: numbers.interleave(_noise, cycle_length=3, num_parallel_calls=2), True),
    "in a filter in it": (lambda numbers: numbers.interleave(_some, cycle_length=3, num_parallel_calls=2), True),
    "in its function": (
        lambda numbers: numbers.interleave(
            lambda _: tf.data.Dataset.from_tensors(tf.random.uniform([])), cycle_length=3, num_parallel_calls=2
        ),
        False,
    ),
    "one after another": (lambda numbers: numbers.interleave(_noise, cycle_length=3), False),
    "behind it": (
        lambda numbers: numbers.interleave(
            lambda _: tf.data.Dataset.range(2), cycle_length=3, num_parallel_calls=2
        ).map(lambda n: tf.cast(n, tf.float32) + tf.random.uniform([])),
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PARALLEL)
def test_random_numbers_of_datasets_that_are_read_in_parallel_are_named_in_a_warning(kind, said):
    make, is_told = PARALLEL[kind]
    for mode in (mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL):
        said.clear()
        first = _first_inputs(lambda: make(tf.data.Dataset.range(20)), mode=mode)
        told = ["random numbers are drawn in a dataset that a parallel interleave makes" in line for line in said.lines]
        assert told == ([True] if is_told else [])
        assert is_told or first == _first_inputs(lambda: make(tf.data.Dataset.range(20)), mode=mode)
