"""Images of one class each in records, as our own writer writes them."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox
from mox_core.errors import DataError, UsageError

CLASSES = {"tulips": 4, "daisy": 3, "roses": 5}


def picture(height, width, shift):
    rows, columns = np.mgrid[0:height, 0:width]
    channels = (columns * 255 // (width - 1), rows * 255 // (height - 1), (rows + columns + shift) * 2 % 256)
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


@pytest.fixture
def flowers(tmp_path):
    """Folders of images, and records of them in three files."""
    source = tmp_path / "flowers"
    for name, number in CLASSES.items():
        (source / name).mkdir(parents=True)
        for place in range(number):
            picture(20 + place, 30, 10 * place).save(source / name / f"{name}_{place}.{('png', 'jpg')[place % 2]}")
    mox.write_image_classification_tfrecords(source, tmp_path / "records", name="train", num_shards=3)
    return source, tmp_path / "records"


def read_all(batches, folder, keys, *, batch_size=None, meta=None, **options):
    def input_fn(_mode):
        metadata = mox.ImageClassificationTFRecordMetadata(folder, "train-*.tfrecord", **(meta or {}))
        return mox.ImageClassificationTFRecordDataset(metadata, num_epochs=1, **options).get(keys)

    return batches(input_fn, batch_size=batch_size)


def test_metadata_tell_classes_and_number(flowers):
    meta = mox.ImageClassificationTFRecordMetadata(flowers[1], "train-*.tfrecord")
    assert meta.num_samples == 12
    assert meta.labels_to_names == {0: "daisy", 1: "roses", 2: "tulips"}
    assert meta.num_classes == 3


def test_the_images_are_those_of_the_folder(flowers, batches):
    source, records = flowers
    found = read_all(batches, records, ["image", "label", "label_desc", "image_name"])
    assert len(found) == 12
    for image, label, label_desc, image_name in found:
        name = label_desc.decode()
        assert label == sorted(CLASSES).index(name)
        with Image.open(source / name / image_name.decode()) as expected:
            np.testing.assert_array_equal(image, np.asarray(expected.convert("RGB")))
    assert len({image_name for *_, image_name in found}) == 12


def test_batches_of_one_size_one_hot_labels_and_a_last_batch(flowers, batches):
    found = read_all(batches, flowers[1], ["image", "label"], image_size=(8, 9), label_one_hot=True, batch_size=5)
    assert [image.shape for image, _ in found] == [(5, 8, 9, 3), (5, 8, 9, 3), (2, 8, 9, 3)]
    assert np.concatenate([label for _, label in found]).sum(axis=0).tolist() == [3, 5, 4]

    def input_fn(_mode):
        metadata = mox.ImageClassificationTFRecordMetadata(flowers[1], "train-*.tfrecord")
        return mox.ImageClassificationTFRecordDataset(
            metadata,
            5,
            augmentation_fn=lambda image: tf.image.resize_with_crop_or_pad(image, 6, 6),
            drop_remainder=True,
            num_epochs=1,
        ).get(["image"])

    assert [image.shape for (image,) in batches(input_fn)] == [(5, 6, 6, 3), (5, 6, 6, 3)]


def test_preprocess_fn_gets_the_file_and_custom_features_are_read_too(flowers, batches):
    def preprocess_fn(image_name, image_buf, label, label_desc):
        return image_name, tf.strings.length(image_buf), label, label_desc

    found = read_all(
        batches,
        flowers[1],
        ["image_name", "image", "image/height"],
        preprocess_fn=preprocess_fn,
        custom_feature_keys=["image/height"],
        custom_feature_values=[tf.io.FixedLenFeature([], tf.int64)],
    )
    for image_name, size, height in found:
        name, _, place = image_name.decode().partition("_")
        assert size == (flowers[0] / name / image_name.decode()).stat().st_size
        assert height == 20 + int(place[0])


def test_two_classes_of_records_may_share_a_name(flowers):
    (flowers[1] / "labels.txt").write_text("0: crane\n1: heron\n2: crane\n", encoding="utf-8")
    meta = mox.ImageClassificationTFRecordMetadata(flowers[1], "*.tfrecord")
    assert meta.labels_to_names == {0: "crane", 1: "heron", 2: "crane"}


def test_without_labels_txt_the_names_in_the_records_count(flowers, batches):
    (flowers[1] / "labels.txt").unlink()
    found = read_all(batches, flowers[1], ["label", "label_desc"])
    assert {(int(label), name) for label, name in found} == {(0, b"daisy"), (1, b"roses"), (2, b"tulips")}
    with pytest.raises(UsageError, match=r"label_one_hot=True: give num_classes, or a label_map_file, to the metadata"):
        read_all(batches, flowers[1], ["label"], label_one_hot=True)
    ((label,), *_) = read_all(batches, flowers[1], ["label"], label_one_hot=True, meta={"num_classes": 4})
    assert label.shape == (4,)


def test_what_is_wrong_with_classes_is_said(flowers):
    with pytest.raises(DataError, match=r"there is no file '.*names\.txt'\. Leave label_map_file away"):
        mox.ImageClassificationTFRecordMetadata(flowers[1], "*", label_map_file="names.txt")
    with pytest.raises(DataError, match=r"num_classes is 5, and '.*labels\.txt' names 3 classes\."):
        mox.ImageClassificationTFRecordMetadata(flowers[1], "*", num_classes=5)


def test_an_image_that_cannot_be_decoded_is_a_bad_record(flowers, batches):
    buffer = io.BytesIO()
    picture(20, 20, 0).save(buffer, "JPEG")
    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[buffer.getvalue()[:200]])),
        "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[1])),
    }
    path = flowers[1] / "train-broken.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    with pytest.raises(DataError, match=r"train-broken\.tfrecord: record 0, at byte 0' cannot be read"):
        read_all(batches, flowers[1], ["image", "label"])
    found = read_all(batches, flowers[1], ["image", "label"], on_bad_record="skip", image_size=4, batch_size=20)
    assert [len(label) for _, label in found] == [12]


def test_files_are_read_from_copies_in_cache_dir(flowers, tmp_path, batches):
    cache = tmp_path / "cache"
    options = {"cache_dir": cache, "remove_cache_on_finish": False}
    read_all(batches, flowers[1], ["label"], **options)
    copies = sorted(cache.rglob("*.tfrecord"))
    assert [copy.read_bytes() for copy in copies] == [
        path.read_bytes() for path in sorted(flowers[1].glob("*.tfrecord"))
    ]
    copies[0].write_bytes(b"")  # not what the original is: copied anew
    assert len(read_all(batches, flowers[1], ["label"], **options)) == 12
    with pytest.raises(UsageError, match=r"cache_dir is 'ENV' and the environment variable DLS_LOCAL_CACHE_PATH"):
        read_all(batches, flowers[1], ["label"], cache_dir="ENV")


def test_files_that_cannot_be_copied_are_read_in_their_place(flowers, tmp_path, batches, said):
    (tmp_path / "full").write_text("no folder, as a full disk is none")
    assert len(read_all(batches, flowers[1], ["label"], cache_dir=tmp_path / "full")) == 12
    first = str(flowers[1] / "train-00000-of-00003.tfrecord")
    told = f"3 of 3 files are read without a copy in cache_dir, {first!r} first: Not a directory"
    assert f"WARNING: {told}" in said


def test_arguments_that_do_not_fit_are_refused(flowers):
    meta = mox.ImageClassificationTFRecordMetadata(flowers[1], "train-*")
    with pytest.raises(UsageError, match=r"has preprocess_fn and image_size\. preprocess_fn takes the file as it is"):
        mox.ImageClassificationTFRecordDataset(meta, preprocess_fn=print, image_size=4)
    with pytest.raises(UsageError, match=r"must be ImageClassificationTFRecordMetadata"):
        mox.ImageClassificationTFRecordDataset(mox.BaseTFRecordMetadata(flowers[1], "train-*"))


def model_fn(inputs, _mode):
    images, labels = inputs
    weights = tf.compat.v1.get_variable("weights", [8 * 8 * 3, 3], initializer=tf.zeros_initializer())
    logits = tf.reshape(tf.cast(images, tf.float32) / 255, [-1, 8 * 8 * 3]) @ weights
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    return mox.ModelSpec(loss=loss, log_info={"loss": loss})


def run(folder, log_dir, steps):
    def input_fn(_mode):
        metadata = mox.ImageClassificationTFRecordMetadata(folder, "train-*.tfrecord")
        dataset = mox.ImageClassificationTFRecordDataset(metadata, image_size=8)
        return dataset.get(["image", "label"])

    result = mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=5,
        max_number_of_steps=steps,
        log_dir=log_dir,
    )
    return tf.train.load_checkpoint(result.checkpoint).get_tensor("weights")


def test_a_resumed_training_ends_with_the_weights_of_one_in_one_go(flowers, tmp_path):
    tf.random.set_seed(4)
    whole = run(flowers[1], tmp_path / "whole", 7)  # 35 samples: the third epoch of 12
    run(flowers[1], tmp_path / "parts", 3)
    tf.random.set_seed(9)  # the checkpoint's counts
    parts = run(flowers[1], tmp_path / "parts", 7)
    tf.compat.v1.random.set_random_seed(None)
    np.testing.assert_array_equal(parts, whole)
    assert np.abs(whole).max() > 0
    assert (tmp_path / "parts" / ".mox" / "tfrecords.npz").is_file()


def test_a_label_without_a_name_is_said_to_be_one_of_the_reasons(flowers, batches):
    (flowers[1] / "labels.txt").write_text("0: daisy\n1: roses\n")
    with pytest.raises(DataError, match=r"or its label is none of the 2 that have a name, from 0 on"):
        read_all(batches, flowers[1], ["image", "label", "label_desc"])


def test_a_custom_feature_does_not_take_the_place_of_an_own_one(flowers):
    meta = mox.ImageClassificationTFRecordMetadata(flowers[1], "train-*.tfrecord")
    feature = tf.io.FixedLenFeature([], tf.int64)
    with pytest.raises(UsageError, match=r"custom_feature_keys of .* has 'label', which it makes of a record itself"):
        mox.ImageClassificationTFRecordDataset(meta, custom_feature_keys=["label"], custom_feature_values=[feature])
