"""Features, handlers and data sets of one's own."""

import io
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox
from mox_core.errors import DataError, UsageError

PIXELS = np.random.default_rng(5).integers(0, 256, (6, 4, 3), np.uint8)


def encoded(image_format, pixels=PIXELS):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


def feature(*values):
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


@pytest.fixture
def one(tmp_path, batches):
    """Writes one record and gives the items that handlers make of it."""

    def make(features, keys_to_features, items_to_handlers):
        with tf.io.TFRecordWriter(str(tmp_path / "one.tfrecord")) as writer:
            named = {name: feature(*values) for name, values in features.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=named)).SerializeToString())

        def input_fn(_mode):
            dataset = mox.get_tfrecord(
                tmp_path,
                "*.tfrecord",
                keys_to_features=keys_to_features() if callable(keys_to_features) else keys_to_features,
                items_to_handlers=items_to_handlers,
                num_epochs=1,
            )
            return dataset.get(list(items_to_handlers))

        ((values,),) = (batches(input_fn),)
        return dict(zip(items_to_handlers, values, strict=True))

    return make


def images(key="image/encoded"):
    return {
        key: tf.io.FixedLenFeature([], tf.string),
        "image/format": tf.io.FixedLenFeature([], tf.string, default_value=""),
    }


def slim():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it imports warns
        from tf_slim.data import tfexample_decoder
    return tfexample_decoder


both = pytest.mark.parametrize("decoder", [lambda: mox.tfexample_decoder, slim], ids=["mox", "slim"])


@both
def test_the_manuals_digits_are_read(one, decoder):
    decoder = decoder()
    digit = np.random.default_rng(1).integers(0, 256, (28, 28), np.uint8)

    def keys_to_features():
        return {
            "image/encoded": tf.compat.v1.FixedLenFeature((), tf.string, default_value=""),
            "image/format": tf.compat.v1.FixedLenFeature((), tf.string, default_value=""),
            "image/class/label": tf.compat.v1.FixedLenFeature(
                [1], tf.int64, default_value=tf.zeros([1], dtype=tf.int64)
            ),
        }

    items = one(
        {"image/encoded": [encoded("PNG", digit)], "image/format": [b"png"], "image/class/label": [7]},
        keys_to_features,
        {
            "image": decoder.Image(shape=[28, 28, 1], channels=1),
            "label": decoder.Tensor("image/class/label", shape=[]),
        },
    )
    np.testing.assert_array_equal(items["image"][..., 0], digit)
    assert items["label"] == 7
    assert items["label"].shape == ()


@both
def test_tensors_take_their_shape_from_an_argument_or_from_features(one, decoder):
    decoder = decoder()
    items = one(
        {"values": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "rows": [3], "columns": [2]},
        {
            "values": tf.io.VarLenFeature(tf.float32),
            "rows": tf.io.FixedLenFeature([], tf.int64),
            "columns": tf.io.FixedLenFeature([], tf.int64),
        },
        {
            "flat": decoder.Tensor("values"),
            "fixed": decoder.Tensor("values", shape=[2, 3]),
            "stored": decoder.Tensor("values", shape_keys=["rows", "columns"]),
        },
    )
    assert items["flat"].tolist() == [1, 2, 3, 4, 5, 6]
    assert items["fixed"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert items["stored"].tolist() == [[1, 2], [3, 4], [5, 6]]


@both
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP"])
def test_images_are_decoded_by_their_content(one, decoder, image_format):
    decoder = decoder()
    content = encoded(image_format)
    items = one(
        {"image/encoded": [content], "image/format": [b"whatever"]},
        images(),
        {"image": decoder.Image(dct_method="INTEGER_ACCURATE"), "float": decoder.Image(dtype=tf.float32)},
    )
    np.testing.assert_array_equal(items["image"], np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    assert items["image"].dtype == np.uint8
    assert items["float"].dtype == np.float32


def test_raw_pixels_and_other_keys(one):
    items = one(
        {"pixels": [PIXELS.tobytes()], "kind": [b"RAW"]},
        {"pixels": tf.io.FixedLenFeature([], tf.string), "kind": tf.io.FixedLenFeature([], tf.string)},
        {"image": mox.tfexample_decoder.Image("pixels", "kind", shape=[6, 4, 3])},
    )
    np.testing.assert_array_equal(items["image"], PIXELS)


def test_several_images_of_one_record(one):
    items = one(
        {"image/encoded": [encoded("PNG"), encoded("PNG", 255 - PIXELS)], "image/format": [b"png"]},
        images() | {"image/encoded": tf.io.VarLenFeature(tf.string)},
        {"images": mox.tfexample_decoder.Image(shape=[6, 4, 3], repeated=True)},
    )
    np.testing.assert_array_equal(items["images"], [PIXELS, 255 - PIXELS])


def test_a_shape_comes_from_one_place_only():
    with pytest.raises(UsageError, match=r"handler Tensor\('x'\) has shape_keys='n' and shape=\[2\]; it takes one"):
        mox.tfexample_decoder.Tensor("x", shape_keys="n", shape=[2])


def test_a_handler_whose_feature_is_not_asked_for_is_refused_before_files_are_read(write):
    folder = write([1])
    with pytest.raises(UsageError) as caught:
        mox.get_tfrecord(
            folder,
            "*",
            keys_to_features={"image/class/label": tf.io.FixedLenFeature([], tf.int64)},
            items_to_handlers={"label": mox.tfexample_decoder.Tensor("image/class/labels")},
        )
    assert str(caught.value) == (
        "the handler of item 'label' wants feature 'image/class/labels', which is not in keys_to_features. "
        "Did you mean 'image/class/label'? keys_to_features has 'image/class/label'."
    )
    with pytest.raises(UsageError, match=r"the handler of item 'x' is 'x'; it must be one of mox\.tfexample_decoder"):
        mox.get_tfrecord(
            folder, "*", keys_to_features={"x": tf.io.VarLenFeature(tf.int64)}, items_to_handlers={"x": "x"}
        )


@pytest.mark.parametrize("item", ["größe in cm", "a:b", "x\x1b[31m\ny", "名前"])
def test_items_may_have_names_that_tensorflow_does_not_take_for_operations(write, batches, item):
    folder = write([4])

    def input_fn(_mode):
        dataset = mox.get_tfrecord(
            folder,
            "*",
            keys_to_features={"x": tf.io.FixedLenFeature([], tf.int64)},
            items_to_handlers={item: mox.tfexample_decoder.Tensor("x")},
            shuffle=False,
            num_epochs=1,
        )
        return dataset.get([item])

    assert [values.tolist() for (values,) in batches(input_fn, batch_size=2)] == [[0, 1], [2, 3]]


def test_an_item_that_does_not_exist_is_refused(write, numbers, batches):
    dataset = numbers(write([1]))
    with pytest.raises(UsageError, match=r"^unknown key 'y'\. HandledTFRecordDataset knows 'x'\.$"):
        batches(lambda _: dataset.get(["y"]))
    with pytest.raises(UsageError, match=r"get takes a list of names"):
        batches(lambda _: dataset.get("x"))


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({"y": tf.io.FixedLenFeature([], tf.int64)}, "Feature: y"),
        ({"x": tf.io.FixedLenFeature([], tf.string)}, "Key: x"),
        ({"x": tf.io.FixedLenFeature([2], tf.int64)}, "Key: x"),
    ],
)
def test_features_that_records_do_not_hold_are_told_before_training(write, batches, features, reason):
    (key,) = features

    def input_fn(_mode):
        handlers = {"x": mox.tfexample_decoder.Tensor(key)}
        return mox.get_tfrecord(folder, "*", keys_to_features=features, items_to_handlers=handlers).get(["x"])

    folder = write([2])
    with pytest.raises(DataError) as caught:
        batches(input_fn)
    text = str(caught.value)
    assert text.startswith(f"'{folder / 'part-0.tfrecord'}: record 0, at byte 0': it does not hold the features")
    assert reason in text
    assert text.endswith("It holds 'filling' (bytes, 1 values), 'x' (int64, 1 values).")


def test_records_that_are_no_examples_are_told(tmp_path, numbers):
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        writer.write(b"\xff\xff no message")
    with pytest.raises(DataError, match=r"record 0, at byte 0': it does not .* It is no tf\.train\.Example\.$"):
        numbers(tmp_path, "a").source()


class Squares(mox.BaseTFRecordDataset):
    """A data set of one's own."""

    def _build_features(self, number, filling):
        self._add_feature("number", number)
        self._add_feature("square", number**2)
        self._add_feature("size", tf.strings.length(filling))


def test_a_data_set_of_ones_own(write, batches):
    meta = mox.BaseTFRecordMetadata(write([3, 2], padding=9), "part-*")

    def input_fn(_mode):
        dataset = Squares(
            meta,
            feature_keys=["x", "filling"],
            feature_values=[tf.io.FixedLenFeature([], tf.int64), tf.io.FixedLenFeature([], tf.string)],
            shuffle=False,
            num_parallel=4,
            num_epochs=1,
        )
        square, number = dataset.get(["square", "number"])
        return square, number, *dataset.get(["size"])

    (batch,) = batches(input_fn, batch_size=5)
    assert [values.tolist() for values in batch] == [[0, 1, 4, 9, 16], [0, 1, 2, 3, 4], [9] * 5]


def test_what_is_wrong_with_a_data_set_of_ones_own_is_said(write, batches):
    class Sparse(mox.BaseTFRecordDataset):
        def _build_features(self, number):
            self._add_feature("number", number)

    meta = mox.BaseTFRecordMetadata(write([3]), "part-*")
    sparse = Sparse(meta, feature_keys=["x"], feature_values=[tf.io.VarLenFeature(tf.int64)])
    with pytest.raises(UsageError, match=r"feature 'number' of Sparse is a SparseTensor; it must be a dense tensor"):
        batches(lambda _: sparse.get(["number"]))
    with pytest.raises(UsageError, match=r"Sparse has 1 feature_keys and 0 feature_values; each key has one value"):
        Sparse(meta, feature_keys=["x"], feature_values=[])
    with pytest.raises(UsageError, match=r"metadata of Sparse is 'folder'; it must be a BaseTFRecordMetadata"):
        Sparse("folder", feature_keys=[], feature_values=[])
    with pytest.raises(UsageError, match=r"on_bad_record of Sparse is 'ignore'; it must be 'raise' or 'skip'"):
        Sparse(meta, feature_keys=[], feature_values=[], on_bad_record="ignore")


@pytest.mark.parametrize(("value", "is_told"), [(None, False), (0, False), (-1, True)])
def test_a_value_that_is_to_pad_sequences_is_said_to_have_no_effect(one, said, value, is_told):
    spec = {"x": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True, default_value=value)}
    assert one({"x": [5, 6]}, spec, {"x": mox.tfexample_decoder.Tensor("x")})["x"].tolist() == [5, 6]
    assert any("default_value=-1 of the FixedLenSequenceFeature 'x' has no effect" in line for line in said) == is_told
