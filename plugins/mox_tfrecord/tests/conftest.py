"""Files of records, written by TensorFlow, and what a data set reads of them."""

import gc
import logging

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox


def example_of(**features):
    """A serialized Example of whole numbers and bytes."""

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    named = {name.replace("__", "/"): feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=named)).SerializeToString()


@pytest.fixture
def write(tmp_path):
    """Writes records of a number `x` each, into files of given lengths; returns the folder."""

    def write_files(lengths, *, compression="", name="part", padding=0):
        folder = tmp_path / "records"
        folder.mkdir(exist_ok=True)
        number = 0
        for place, length in enumerate(lengths):
            path = folder / f"{name}-{place}.tfrecord"
            with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type=compression)) as writer:
                for _ in range(length):
                    writer.write(example_of(x=number, filling=bytes(padding)))
                    number += 1
        return folder

    return write_files


@pytest.fixture
def numbers():
    """Makes a data set of what `write` has written; its only item is 'x'."""

    def make(folder, pattern="*.tfrecord", **options):
        return mox.get_tfrecord(
            folder,
            pattern,
            keys_to_features={"x": tf.io.FixedLenFeature([], tf.int64)},
            items_to_handlers={"x": mox.tfexample_decoder.Tensor("x")},
            **options,
        )

    return make


@pytest.fixture
def read():
    """Calls the source of a data set and gives (next position, item 'x') of each sample."""
    from mox_core.engine.input.bad_samples import BadSampleReport
    from mox_core.engine.input.order import Order

    def elements(dataset, *, seed=1, start=0, limit=None, report=None, **share):
        order = Order(seed=seed, **share)
        found = dataset.source().dataset(order=order, start=start, needed=None, report=report or BadSampleReport())
        taken = found if limit is None else found.take(limit)
        return [(int(position), int(features["x"])) for position, features in taken]

    yield elements
    gc.collect()  # the traceback of an expected error may hold an iterator


@pytest.fixture
def batches():
    """Calls `input_fn` as a run does and gives its batches, or its elements where it makes batches itself."""
    from mox_core.engine.input.batching import Batching
    from mox_core.engine.input.order import Order
    from mox_core.engine.input.pipeline import build_pipeline

    def collect(input_fn, *, batch_size=None, limit=None, mode="EVAL"):
        batching = Batching(batch_size=batch_size, auto=batch_size is not None)
        pipeline = build_pipeline(input_fn, mode, batching, order=Order(seed=1))
        found = []
        with pipeline.open() as opened:
            while len(found) != limit and (element := next(opened.iterator, None)) is not None:
                found.append([value.numpy() for value in element[1]])
        return found

    yield collect
    gc.collect()  # as above


@pytest.fixture
def said():
    """The lines of TensorFlow's logger."""

    class Lines(logging.Handler):
        def __init__(self):
            super().__init__()
            self.lines = []

        def emit(self, record):
            self.lines.append(f"{record.levelname}: {record.getMessage()}")

    handler = Lines()
    tf.get_logger().addHandler(handler)
    yield handler.lines
    tf.get_logger().removeHandler(handler)


@pytest.fixture
def many(tmp_path):
    """Two classes of 60 and 20 images."""
    for name, count in (("a", 60), ("b", 20)):
        (tmp_path / "many" / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.add.outer(np.arange(2), np.arange(3))[..., np.newaxis] * [40, 60, 80] + number
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "many" / name / f"{number}.png")
    return tmp_path / "many"


@pytest.fixture
def dst(tmp_path):
    return tmp_path / "records"


@pytest.fixture
def log(caplog):
    with caplog.at_level(logging.INFO, tf.get_logger().name):
        yield caplog
