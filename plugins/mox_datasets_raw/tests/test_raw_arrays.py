"""Arrays in memory: what is read of them, in which order, by whom, and what is refused."""

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf

import mox_core as mox
from mox_core.errors import DataError, MoxError, UsageError
from mox_core.sdk import Order, fold
from mox_core.testing import DatasetContract
from mox_core.testing.reading import read

SIZE = 101
RANDOM = np.random.default_rng(4)
IMAGES = RANDOM.normal(size=(SIZE, 2, 3)).astype(np.float32)
LABELS = RANDOM.integers(0, 10, SIZE)


def permutation(epoch, seed=1, size=SIZE):
    """The order of an epoch, one row at a time, by TensorFlow's own function."""
    key = tf.constant([fold(seed, "order"), epoch], tf.int64)
    return np.array(
        [
            int(tf.random.experimental.index_shuffle(tf.constant(row, tf.int64), key, tf.constant(size - 1, tf.int64)))
            for row in range(size)
        ]
    )


@pytest.fixture(scope="module")
def order():
    return np.concatenate([permutation(epoch) for epoch in range(2)])


def as_it_is(image, label):
    return image, label


def by_rows(image, label):
    return tf.transpose(image) / 3, label  # whole batches


def alone(image, label):
    return tf.math.exp(image), label  # rounds otherwise in another place of a vector: sample by sample


def inputs_of(element):
    return element.values  # noqa: PD011  (no pandas object)


def batches(data, made=as_it_is, mode="EVAL", **options):
    return [inputs_of(element) for element in read(lambda _: made(*data.get()), mode, **options)]


class TestArrays(DatasetContract):
    features = ("number", "name", "row")
    num_samples = 9
    key = "number"

    def dataset(self, folder, *, shuffle, num_epochs):
        del folder
        columns = {
            "number": np.arange(9) * 10,
            "name": [f"row {number}" for number in range(9)],
            "row": scipy.sparse.eye(9),
        }
        return mox.ArrayDataset(columns, shuffle=shuffle, num_epochs=num_epochs)


@pytest.mark.parametrize("made", [as_it_is, by_rows, alone])
def test_batches_are_the_rows_of_a_permutation_by_fancy_indexing(order, made):
    data = mox.ArrayDataset(IMAGES, LABELS, num_epochs=2)
    assert data.num_samples == SIZE
    found = batches(data, made, batch_size=16)
    assert [len(labels) for _, labels in found] == [16] * 12 + [10]
    of_images = {
        as_it_is: lambda images: images,
        by_rows: lambda images: images.transpose(0, 2, 1) / np.float32(3),
        alone: lambda images: np.stack([tf.math.exp(image) for image in images]),
    }[made]
    for number, (images, labels) in enumerate(found):
        rows = order[16 * number : 16 * number + 16]
        np.testing.assert_array_equal(images, of_images(IMAGES[rows]))
        np.testing.assert_array_equal(labels, LABELS[rows])


def flat(image):
    return tf.reshape(image, [-1])


def wrapped(image):
    return tf.cast(image * 300, tf.uint8)  # beyond 255: TensorFlow's result depends on the place in a vector


def beyond_all(image):
    return tf.cast(image / 0, tf.uint32)


def one_of_it(image):
    return image[tf.cast(image[0, 0] > 0, tf.int32)]


def cut_at(image):
    return tf.slice(image, [tf.cast(image[0, 0] > 0, tf.int32), 0], [1, 3])


def without_dimensions(image):
    return tf.squeeze(image[:1])


def nothing_of_it(image):
    return image[2:]


@pytest.mark.parametrize("made", [flat, wrapped, beyond_all, one_of_it, cut_at, without_dimensions, nothing_of_it])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_a_row_is_what_input_fn_makes_of_a_sample_alone(made, batch_size, order, caplog):
    data = mox.ArrayDataset(IMAGES, LABELS, num_epochs=1)
    found = batches(data, lambda image, label: (made(image), label), batch_size=batch_size)
    rows = np.concatenate([images for images, _ in found])
    alone = tf.data.Dataset.from_tensor_slices(IMAGES[order[:SIZE]]).map(made)
    np.testing.assert_array_equal(rows, list(alone.as_numpy_iterator()))
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_training_drops_the_rest_and_goes_on_for_ever_without_epochs(order):
    twice = batches(mox.ArrayDataset(np.arange(SIZE), num_epochs=2), tf.identity, "TRAIN", batch_size=20)
    assert np.array(twice).ravel().tolist() == order[:200].tolist()
    endless = batches(mox.ArrayDataset(np.arange(SIZE)), tf.identity, "TRAIN", batch_size=20, limit=12)
    assert np.array(endless).ravel()[:202].tolist() == order.tolist()
    large = batches(mox.ArrayDataset(np.arange(SIZE)), tf.identity, "TRAIN", batch_size=202, limit=1)
    assert np.array(large).ravel().tolist() == order.tolist()


@pytest.mark.parametrize("batch_size", [None, 7, 1000])
def test_workers_read_every_third_row_from_any_position_on(order, batch_size):
    data = mox.ArrayDataset(np.arange(SIZE), num_epochs=2)
    for worker in range(3):
        share = Order(seed=1, workers=3, worker=worker)
        found = read(lambda _: data.get(), "EVAL", batch_size=batch_size, order=share)
        rows = np.concatenate([np.atleast_1d(inputs_of(element)[0]) for element in found])
        assert rows.tolist() == order[worker::3].tolist()
        stopped = found[len(found) // 2].after
        rest = read(lambda _: data.get(), "EVAL", batch_size=50, order=share, start=stopped)
        left = np.concatenate([inputs_of(element)[0] for element in rest] or [[]])
        assert left.tolist() == order[stopped[0] + worker :: 3].tolist()


def test_rows_in_their_own_order():
    data = mox.ArrayDataset(IMAGES, LABELS, shuffle=False, num_epochs=1)
    images, labels = (np.concatenate(each) for each in zip(*batches(data, batch_size=32), strict=True))
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


FRAME = pd.DataFrame(
    {
        "age": [31.5, 20.0, 64.25],
        "name": ["Ann", "Bö", ""],
        "children": pd.array([0, 2, 1], dtype="Int64"),
        "member": [True, False, True],
        7: pd.array(["a", "b", "c"], dtype="string"),
    }
)
EMPTY_ROWS = scipy.sparse.csr_array(([3.0, 4.0, -1.0], ([1, 1, 1], [0, 2, 0])), shape=(3, 4))  # two are for one place
KINDS = {
    "one array": (([[1, 2], [3, 4]],), {"x": np.array([[1, 2], [3, 4]])}),
    "all arguments": (
        (np.float64([[1], [2]]), (5, 6), np.float16([0.5, 1])),
        {"x": np.array([[1.0], [2.0]]), "y": np.array([5, 6]), "sample_weight": np.float16([0.5, 1])},
    ),
    "a dict and an array": (
        ({"b": np.uint8([1, 2]), "a": tf.constant(["p", "q"])}, [True, False]),
        {"b": np.uint8([1, 2]), "a": np.array([b"p", b"q"], object), "y": np.array([True, False])},
    ),
    "lists of arrays": (
        ([np.int8([1, 2]), np.int16([3, 4])], pd.Series([5, 6], name="label")),
        {"x_0": np.int8([1, 2]), "x_1": np.int16([3, 4]), "label": np.array([5, 6])},
    ),
    "a frame and a series": (
        (FRAME, pd.Series([1, 2, 3])),
        {
            "age": np.array([31.5, 20.0, 64.25]),
            "name": np.array([b"Ann", "Bö".encode(), b""], object),
            "children": np.array([0, 2, 1]),
            "member": np.array([True, False, True]),
            "7": np.array([b"a", b"b", b"c"], object),
            "y": np.array([1, 2, 3]),
        },
    ),
    "a frame as one column": (({"all": FRAME[["age", "member"]].astype("float32")},),
                              {"all": np.float32([[31.5, 1], [20, 0], [64.25, 1]])}),
    "sparse": (
        (EMPTY_ROWS, scipy.sparse.coo_matrix(np.eye(3, dtype=bool))),
        {"x": np.array([[0, 0, 0, 0], [2.0, 0, 4, 0], [0, 0, 0, 0]]), "y": np.eye(3, dtype=bool)},
    ),
    "nothing but zeros": ((scipy.sparse.csc_matrix((2, 3), dtype=np.int32),), {"x": np.zeros([2, 3], np.int32)}),
    "other layouts": (
        {"x": np.asfortranarray(np.arange(6).reshape(3, 2))[::2], "y": np.arange(2, dtype=">i4")}.values(),
        {"x": np.array([[0, 1], [4, 5]]), "y": np.int32([0, 1])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_arrays_has_its_names_values_and_dtypes(kind):
    given, expected = KINDS[kind]
    data = mox.ArrayDataset(*given, shuffle=False, num_epochs=1)
    for keys in (None, [*expected]):
        (element,) = read(lambda _: data.get(keys), "EVAL", batch_size=5)  # noqa: B023  (called at once)
        found = inputs_of(element)
        for values, wanted in zip(found, expected.values(), strict=True):
            np.testing.assert_array_equal(values, wanted)
            assert values.dtype == wanted.dtype


def test_what_becomes_of_an_array_later_has_no_effect():
    rows, matrix = np.arange(5.0), scipy.sparse.csr_matrix(np.eye(5))
    data = mox.ArrayDataset(rows, matrix, shuffle=False, num_epochs=1)
    rows[:] = -1
    matrix.data[:] = -1
    found, dense = batches(data, batch_size=5)[0]
    assert found.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(dense, np.eye(5))


def test_arrays_do_not_go_into_the_graph():
    source = mox.ArrayDataset(np.zeros([10_000, 100])).source()
    for fetch, shape in ((source.fetch, []), (source.fetch_many, [None])):
        traced = tf.function(fetch).get_concrete_function(tf.TensorSpec(shape, tf.int64))
        assert traced.graph.as_graph_def().ByteSize() < 10_000


def test_a_session_and_eager_calls_read_them_too():
    data = mox.ArrayDataset([5, 6, 7], [0.5, 1.5, 2.5], shuffle=False, num_epochs=1)
    assert [tuple(map(float, data.get())) for _ in range(3)] == [(5, 0.5), (6, 1.5), (7, 2.5)]
    with pytest.raises(tf.errors.OutOfRangeError):
        data.get()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        row = data.get(["y"])
        assert [session.run(row) for _ in range(2)] == [[0.5], [1.5]]


def test_a_training_that_was_stopped_reads_the_rows_that_are_left(tmp_path):
    data = mox.ArrayDataset(np.arange(100))

    def count_model_fn(inputs, _mode):
        weights = tf.compat.v1.get_variable("seen", [100], initializer=tf.zeros_initializer())
        return mox.ModelSpec(loss=tf.reduce_sum(tf.gather(weights, inputs[0])))

    for steps in (7, 20):
        result = mox.run(
            input_fn=lambda _: data.get(),
            model_fn=count_model_fn,
            optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(1.0),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=10,
            log_dir=tmp_path,
            max_number_of_steps=steps,
        )
    seen = tf.train.load_checkpoint(result.checkpoint).get_tensor("seen")
    assert seen.tolist() == [-2.0] * 100


def test_nan_is_named_once_and_read(caplog):
    rows = np.float32([[1, 2], [np.nan, 3], [4, np.nan]])
    for _ in range(2):
        found = batches(mox.ArrayDataset({"size": rows}, shuffle=False, num_epochs=1), tf.identity, batch_size=3)
    np.testing.assert_array_equal(found[0][0], rows)
    assert [record.getMessage() for record in caplog.records] == [
        "x['size'] of ArrayDataset holds NaN in 2 of 3 rows, the first in row 1: model_fn gets it as it is."
    ]


def test_nan_in_a_sparse_matrix_is_told_by_the_rows_of_the_matrix(caplog):
    mox.ArrayDataset(scipy.sparse.csr_matrix(np.array([[0, 1, 2], [0, 0, 0], [np.nan, 3, np.nan], [0, 0, np.nan]])))
    assert [record.getMessage() for record in caplog.records] == [
        "x of ArrayDataset holds NaN in 2 of 4 rows, the first in row 2: model_fn gets it as it is."
    ]


@pytest.mark.parametrize("form", ["dok_matrix", "dok_array", "lil_matrix", "coo_array", "csc_array", "bsr_array"])
def test_sparse_matrices_of_each_form_are_read(form):
    matrix = np.array([[0, 1.5, 0], [0, 0, 0], [2, 0, 3]])
    dataset = mox.ArrayDataset(getattr(scipy.sparse, form)(matrix), range(3), shuffle=False, num_epochs=1)
    ((rows, numbers),) = batches(dataset, batch_size=3)
    np.testing.assert_array_equal(rows, matrix)
    assert numbers.tolist() == [0, 1, 2]


REFUSED = [
    (([1, 2, 3], [1, 2]), UsageError, r"differ in length: 'x' has 3 rows, 'y' has 2 rows\. A row is a sample\.$"),
    (([np.zeros(2)] * 3, [1, 2, 3]), UsageError, r"x is a list of 3 arrays, which are columns; np\.stack\(x\) makes"),
    ((np.array([1, "a", None]),), UsageError, r"x .* dtype object, of int \(1\), for which TensorFlow has no tensors"),
    ((["a", 1],), UsageError, r"dtype object, of int \(1\)"),
    (([[1], [1, 2]],), UsageError, r"x of ArrayDataset holds rows of several shapes.*tf\.ragged\.constant"),
    ((np.zeros([0, 3]),), DataError, "x of ArrayDataset has no row, and a row is a sample"),
    ((scipy.sparse.csr_matrix((0, 3)),), DataError, "x of ArrayDataset has no row"),
    ((np.zeros([3, 0]),), DataError, r"the rows of x of ArrayDataset hold nothing: its shape is \(3, 0\)"),
    ((np.array(3),), UsageError, r"x of ArrayDataset is np.int64\(3\), one value; it must be an array, a dict or"),
    ((None,), UsageError, "x of ArrayDataset is None; it must be an array, a dict or a list of arrays, a pandas"),
    (({},), UsageError, r"x of ArrayDataset has no column: \{\}"),
    (("x.npy",), UsageError, r"x of ArrayDataset is 'x\.npy'.* as by np\.load"),
    (({"a": 1}.values(),), UsageError, r"x of ArrayDataset is dict_values\(\[1\]\).* Give list\(\.\.\.\) of it\.$"),
    (([2**63, 1],), UsageError, r"makes float64 of.* it holds 9223372036854775808\. Give an array of the dtype"),
    (([[0.5, 2**53 + 1], [1, 2]],), UsageError, "where large whole numbers are rounded, and it holds 9007199254740993"),
    ((iter([1, 2]),), UsageError, r"tf\.data\.Dataset\.from_generator, which input_fn returns"),
    ((tf.data.Dataset.range(3),), UsageError, "A tf.data.Dataset is an input of its own: return it"),
    ((tf.ragged.constant([[1], []]),), UsageError, r"from_tensor_slices\(\.\.\.\) of it"),
    (([1], {"y": [1], "x": [2]}), UsageError, r"two columns of ArrayDataset are named 'x'"),
    (({3: [1]},), UsageError, "a key of x of ArrayDataset is 3; it must be a string"),
    ((pd.DataFrame({("a", "b"): [1]}),), UsageError, r"a column of x of ArrayDataset is \('a', 'b'\)"),
    ((np.zeros(2, "M8[s]"),), UsageError, r"dtype datetime64\[s\].* Give numbers, as by \.astype\('int64'\)"),
    ((np.zeros(2, ml_dtypes.int4),), UsageError, r"has dtype int4, of which TensorFlow reads no rows\. Give another"),
    ((np.zeros(2, [("a", "f4")]),), UsageError, r"Give its fields, as \{name: x\[name\] for name in x\.dtype\.names\}"),
    ((np.ma.array([1, 2], mask=[False, True]),), UsageError, r"masked values: fill them, as by \.filled\(0\)"),
    ((scipy.sparse.coo_array([1, 0]),), UsageError, r"sparse array of shape \(2,\); it must have two axes"),
    ((pd.DataFrame({"s": pd.Categorical(["m", "f"])}),), UsageError,
     r"column 's' of x of ArrayDataset is categorical.*\.cat\.codes.*\.astype\(str\)"),
    (({"s": pd.Categorical(["m", "f"])},), UsageError, r"x\['s'\] of ArrayDataset is categorical"),
    ((pd.DataFrame({"n": pd.array([1, None, 3, None], dtype="Int64")}),), DataError,
     r"column 'n' of x of ArrayDataset has no value in 2 of 4 rows, the first in row 1: fill them"),
    ((pd.Series(["a", None]),), DataError, "x of ArrayDataset has no value in 1 of 2 rows, the first in row 1"),
    ((pd.DataFrame({"a": [1, 2]}), pd.Series([3, 4], index=[1, 0])), UsageError,
     r"rows of x and y have different labels in their pandas index \(in row 0 0 and 1\).* y\.loc\[x\.index\]"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "error", "message"), REFUSED, ids=[each[2][:40] for each in REFUSED])
def test_what_is_no_rows_of_samples_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        mox.ArrayDataset(*given)


def test_wrong_options_names_and_tensors_of_a_graph_are_refused():
    for options in ({"shuffle": 1}, {"num_epochs": 0}):
        (name,) = options
        with pytest.raises(UsageError, match=f"^{name} of ArrayDataset is"):
            mox.ArrayDataset([1], **options)
    with pytest.raises(UsageError, match=r"unknown key 'lable'\. Did you mean 'label'\? ArrayDataset knows 'label'"):
        mox.ArrayDataset({"label": [1]}).get(["lable"])
    with tf.Graph().as_default(), pytest.raises(MoxError, match=r"is a tensor of a graph, which has no values yet"):
        mox.ArrayDataset(tf.constant([1, 2]))
