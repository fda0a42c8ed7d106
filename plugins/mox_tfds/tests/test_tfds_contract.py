"""Prepared data sets keep to the contract of the kit: records written in the form of TensorFlow Datasets."""

import json

import tensorflow as tf

import mox_core as mox
from mox_core.testing import DatasetContract

FEATURES = {
    "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
    "featuresDict": {
        "features": {
            "label": {
                "pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
                "classLabel": {"numClasses": "3"},
            }
        }
    },
}


class TestPrepared(DatasetContract):
    features = ("label", "tfds_id")
    num_samples = 9
    key = "tfds_id"

    def dataset(self, folder, *, shuffle, num_epochs):
        """Two files of 4 and 5 records, with what TensorFlow Datasets writes about them."""
        place = folder / "beans" / "0.1.0"
        place.mkdir(parents=True)
        for number, labels in enumerate(([0, 1, 2, 0], [1, 2, 0, 1, 2])):
            path = place / f"beans-train.tfrecord-0000{number}-of-00002"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for label in labels:
                    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
                    example = tf.train.Example(features=tf.train.Features(feature={"label": feature}))
                    writer.write(example.SerializeToString())
        split = {"name": "train", "shardLengths": ["4", "5"], "numBytes": "1"}
        split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        about = {"name": "beans", "version": "0.1.0", "fileFormat": "tfrecord", "splits": [split]}
        (place / "dataset_info.json").write_text(json.dumps(about))
        (place / "features.json").write_text(json.dumps(FEATURES))
        (place / "label.labels.txt").write_text("healthy\nrust\nspot\n")
        return mox.get_dataset("beans", "train", str(folder), shuffle=shuffle, num_epochs=num_epochs)


def test_mnist_is_read_from_a_prepared_folder_too(tmp_path):
    TestPrepared().dataset(tmp_path, shuffle=False, num_epochs=1)
    (tmp_path / "beans").rename(tmp_path / "mnist")
    for path in (tmp_path / "mnist" / "0.1.0").iterdir():
        path.rename(path.with_name(path.name.replace("beans", "mnist")))
    about = tmp_path / "mnist" / "0.1.0" / "dataset_info.json"
    about.write_text(about.read_text().replace("beans", "mnist"))
    dataset = mox.get_dataset("mnist", "train", str(tmp_path))
    assert (dataset.num_samples, dataset.class_names) == (9, ("healthy", "rust", "spot"))
