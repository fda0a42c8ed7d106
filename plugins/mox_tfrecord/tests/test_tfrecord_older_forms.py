"""The forms that the classes of records had before, in scripts of MoXing for TensorFlow 1.4 to 1.8."""

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.errors import DataError, UsageError

ANGLES = [number / 4 for number in range(7)]
FEATURES = {"angle": tf.io.FixedLenFeature([1], tf.float32), "ship": tf.io.FixedLenFeature([], tf.int64)}


@pytest.fixture
def icebergs(tmp_path):
    """Records of an angle and whether it is a ship, in two files."""
    for part, angles in enumerate((ANGLES[:3], ANGLES[3:])):
        with tf.io.TFRecordWriter(str(tmp_path / f"iceberg-{part}.tfrecord")) as writer:
            for angle in angles:
                values = {
                    "angle": tf.train.Feature(float_list=tf.train.FloatList(value=[angle])),
                    "ship": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(angle > 1)])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString())
    return mox.ImageClassificationTFRecordMetadata(tmp_path, "iceberg-*.tfrecord", num_samples=7)


def handlers():
    return {"angle": mox.tfexample_decoder.Tensor("angle", shape=[]), "is_ship": mox.tfexample_decoder.Tensor("ship")}


def test_features_and_handlers_may_stand_behind_the_metadata(icebergs, batches):
    options = {"num_readers": 4, "num_epochs": 1}
    plain = mox.ImageClassificationTFRecordDataset(icebergs, FEATURES, handlers(), shuffle=False, **options)
    angles, ships = zip(*batches(lambda _: plain.get(["angle", "is_ship"])), strict=True)
    assert [float(angle) for angle in angles] == ANGLES
    assert [int(ship) for ship in ships] == [0, 0, 0, 0, 0, 1, 1]
    named = mox.ImageClassificationTFRecordDataset(
        icebergs, keys_to_features=FEATURES, items_to_handlers=handlers(), batch_size=4, **options
    )
    found = [values.tolist() for (values,) in batches(lambda _: named.get(["angle"]))]
    assert [len(values) for values in found] == [4, 3]
    assert sorted([*found[0], *found[1]]) == ANGLES
    with pytest.raises(UsageError, match=r"^unknown key 'image'\. .* knows 'angle', 'is_ship'\.$"):
        batches(lambda _: plain.get(["image"]))


def test_what_does_not_go_with_features_and_handlers_is_refused(icebergs):
    def make(*arguments, **options):
        return mox.ImageClassificationTFRecordDataset(icebergs, *arguments, **options)

    with pytest.raises(UsageError, match=r"has items_to_handlers and image_size, which belongs to its own image and"):
        make(FEATURES, handlers(), image_size=8)
    with pytest.raises(UsageError, match=r"items_to_handlers=None; both must be dicts"):
        make(FEATURES)
    with pytest.raises(
        UsageError, match=r"keys_to_features=None and items_to_handlers=True; both must be dicts: .*All"
    ):
        make(32, True)  # the third argument of MoXing's later form is shuffle
    with pytest.raises(UsageError, match=r"item 'angle' wants feature 'angle', which is not in keys_to_features"):
        make({"ship": FEATURES["ship"]}, handlers())
    with pytest.raises(
        UsageError, match=r"batch_size of .* is \{'angle': .*; it must be None or a whole number from 1"
    ):
        make(FEATURES, handlers(), keys_to_features=FEATURES)
    with pytest.raises(UsageError, match=r"num_readers of .* is 0; it must be a whole number from 1"):
        make(FEATURES, handlers(), num_readers=0)


class Parsed(mox.BaseTFRecordDataset):
    """As MoXing for TensorFlow 1.8 had it."""

    def _parser(self, record):
        features = tf.io.parse_single_example(record, FEATURES)
        return features["angle"][0], features["ship"]

    def _build_feature(self, angle, ship):
        self._add_feature("degrees", angle * 90)
        self._add_feature("ship", ship)


class ParsedAlone(mox.BaseTFRecordDataset):
    """A parser of one tensor, under the later name of the other method."""

    def _parser(self, record):
        return tf.io.parse_single_example(record, {"angle": FEATURES["angle"]})["angle"][0]

    def _build_features(self, angle):
        self._add_feature("degrees", angle * 90)


class BuiltOnly(mox.BaseTFRecordDataset):
    """The older name of the method, without a parser."""

    def _build_feature(self, angle):
        self._add_feature("degrees", angle[0] * 90)


@pytest.mark.parametrize(
    ("kind", "specs"),
    [
        (Parsed, {}),
        (Parsed, {"feature_keys": ["angle"], "feature_values": [FEATURES["angle"]]}),  # its parser does without
        (ParsedAlone, {}),
        (BuiltOnly, {"feature_keys": ["angle"], "feature_values": [FEATURES["angle"]]}),
    ],
)
def test_a_class_parses_records_itself_or_builds_features_by_the_older_name(icebergs, batches, kind, specs):
    dataset = kind(icebergs, **specs, shuffle=False, num_parallel=4, num_readers=2, num_epochs=1)
    (batch,) = batches(lambda _: dataset.get(["degrees"]), batch_size=7)
    np.testing.assert_allclose(batch[0], np.array(ANGLES) * 90)


def test_a_record_that_a_parser_cannot_read_is_named(tmp_path, batches):
    with tf.io.TFRecordWriter(str(tmp_path / "iceberg")) as writer:
        writer.write(tf.train.Example().SerializeToString())
    dataset = Parsed(mox.BaseTFRecordMetadata(tmp_path, "iceberg"), num_epochs=1)
    with pytest.raises(DataError, match=r"none of the 1 samples could be read, from '.*iceberg: record 0, at byte 0'"):
        batches(lambda _: dataset.get(["ship"]))


def test_a_class_that_says_nothing_of_its_records_is_refused(icebergs):
    class Empty(mox.BaseTFRecordDataset):
        pass

    for kind in (Empty, mox.BaseTFRecordDataset):
        with pytest.raises(UsageError, match=f"^{kind.__name__} does not say what is made of a record: derive a class"):
            kind(icebergs)
