"""The data sets of records keep to the contract of the kit."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

import mox_core as mox
from mox_core.testing import DatasetContract


def example_of(**features):
    """A serialized Example of whole numbers and bytes; `__` in a name stands for a slash."""

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    named = {name.replace("__", "/"): feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=named)).SerializeToString()


def write(folder, records, compression=""):
    """Writes records into two files of different lengths."""
    options = tf.io.TFRecordOptions(compression_type=compression)
    for number, own in enumerate((records[:3], records[3:])):
        with tf.io.TFRecordWriter(str(folder / f"part-{number}.tfrecord"), options) as writer:
            for record in own:
                writer.write(record)


class TestHandled(DatasetContract):
    features = ("number", "name")
    num_samples = 8
    key = "number"

    def dataset(self, folder, *, shuffle, num_epochs):
        write(folder, [example_of(x=number, name=b"%d" % number) for number in range(self.num_samples)])
        return mox.get_tfrecord(
            folder,
            "*.tfrecord",
            keys_to_features={"x": tf.io.FixedLenFeature([], tf.int64), "name": tf.io.FixedLenFeature([], tf.string)},
            items_to_handlers={
                "number": mox.tfexample_decoder.Tensor("x"),
                "name": mox.tfexample_decoder.Tensor("name"),
            },
            shuffle=shuffle,
            num_epochs=num_epochs,
        )


class TestClassification(DatasetContract):
    features = ("image", "label", "label_desc", "image_name")
    num_samples = 7
    key = "image_name"

    def dataset(self, folder, *, shuffle, num_epochs):
        records = []
        for number in range(self.num_samples):
            encoded = io.BytesIO()
            Image.fromarray(np.full((4 + number, 5, 3), number, np.uint8)).save(encoded, "png")
            records.append(
                example_of(
                    image__encoded=encoded.getvalue(),
                    image__class__label=number % 3,
                    image__filename=b"%d.png" % number,
                )
            )
        write(folder, records)
        meta = mox.ImageClassificationTFRecordMetadata(folder, "*.tfrecord")
        return mox.ImageClassificationTFRecordDataset(meta, shuffle=shuffle, num_epochs=num_epochs)


class TestOfOnesOwn(DatasetContract):
    features = ("number", "square")
    num_samples = 8
    key = "number"

    def dataset(self, folder, *, shuffle, num_epochs):
        class Squares(mox.BaseTFRecordDataset):
            def _build_features(self, x):
                self._add_feature("number", x)
                self._add_feature("square", x**2)

        write(folder, [example_of(x=number) for number in range(self.num_samples)])
        meta = mox.BaseTFRecordMetadata(folder, "*.tfrecord")
        specs = {"feature_keys": ["x"], "feature_values": [tf.io.FixedLenFeature([], tf.int64)]}
        return Squares(meta, **specs, shuffle=shuffle, num_epochs=num_epochs)


class TestCompressed(DatasetContract):
    """Compressed files are shuffled through a buffer; all else is as elsewhere."""

    features = ("number",)
    num_samples = 8
    key = "number"

    def dataset(self, folder, *, shuffle, num_epochs):
        write(folder, [example_of(x=number) for number in range(self.num_samples)], "GZIP")
        return mox.get_tfrecord(
            folder,
            "*.tfrecord",
            keys_to_features={"x": tf.io.FixedLenFeature([], tf.int64)},
            items_to_handlers={"number": mox.tfexample_decoder.Tensor("x")},
            shuffle=shuffle,
            num_epochs=num_epochs,
        )


class TestParsed(DatasetContract):
    """A class with a parser of its own is read by the same sources."""

    features = ("number",)
    num_samples = 8
    key = "number"

    def dataset(self, folder, *, shuffle, num_epochs):
        class Numbers(mox.BaseTFRecordDataset):
            def _parser(self, record):
                return (tf.io.parse_single_example(record, {"x": tf.io.FixedLenFeature([], tf.int64)})["x"],)

            def _build_feature(self, x):
                self._add_feature("number", x)

        write(folder, [example_of(x=number) for number in range(self.num_samples)])
        return Numbers(mox.BaseTFRecordMetadata(folder, "*.tfrecord"), shuffle=shuffle, num_epochs=num_epochs)
