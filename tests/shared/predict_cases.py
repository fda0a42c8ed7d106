"""Models that `mox predict` is asked about, and the images it is asked with."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox
from mox_core.cli import main

CLASSES = ("daisy", "tulip ♥", "wild rose")
SIZE = 24


def _save(path, generator, suffix, shape):
    pixels = generator.integers(0, 256, (*shape, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path.with_suffix(suffix))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of JPEG, PNG, WebP and BMP files of several sizes, six of each class."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(3)
    for label, name in enumerate(CLASSES):
        for number, suffix in enumerate((".jpg", ".png", ".webp", ".bmp", ".JPG", ".png")):
            _save(folder / name / f"{number}x", generator, suffix, (30 + 7 * number, 41 - 3 * label))
    return folder


def make_job(images, *, augmentation="resnet_v1_20", label=lambda label: label, outputs=None, spec=None, **options):
    def input_fn(mode):
        meta = mox.ImageClassificationRawMetadata(str(images))
        training = mode == mox.ModeKeys.TRAIN
        augment = mox.get_data_augmentation_fn(augmentation, mode, SIZE, SIZE) if augmentation else None
        dataset = mox.ImageClassificationRawDataset(
            meta, shuffle=training, num_epochs=None if training else 1, augmentation_fn=augment, **options
        )
        image, target, name = dataset.get(["image", "label", "image_name"])
        return tf.cast(image, tf.float32) / 128.0 - 1.0, label(target), name

    def model_fn(inputs, mode):
        pixels, labels, name = inputs
        features = keras.layers.Conv2D(4, 5, strides=3, activation="relu")(pixels)
        logits = keras.layers.Dense(len(CLASSES))(keras.layers.Flatten()(features))
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        given = {"logits": logits} if outputs is None else outputs(logits)
        return mox.ModelSpec(
            loss=loss,
            log_info={"loss": loss},
            output_info={"logits": logits, "name": name} if mode == mox.ModeKeys.PREDICT else {"logits": logits},
            export_spec=mox.ExportSpec({"images": pixels}, given, **(spec or {})),
        )

    return {"input_fn": input_fn, "model_fn": model_fn, "batch_size": 4}


def train(job, log_dir, **options):
    return mox.run(
        run_mode=mox.ModeKeys.TRAIN,
        optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.1),
        max_number_of_steps=4,
        log_dir=log_dir,
        export_model=mox.ExportKeys.TF_SERVING,
        **{**job, **options},
    )


def says(capsys, *arguments):
    status = main(["predict", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err
