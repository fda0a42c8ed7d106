"""`mox predict` and `mox_core.serving`: new images are treated as those of EVAL, and what a model cannot do is said."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import forked
import mox_core as mox
from mox_core import serving
from mox_core.cli import main

CLASSES = ("daisy", "tulip ♥", "wild rose")
SIZE = 24
BROKEN = "cut off, empty, or of no known format"


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


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """A model that was trained with validation; the probabilities of PREDICT by file; the path of the export."""
    log_dir = tmp_path_factory.mktemp("trained") / "log"
    job = make_job(images)
    exported = train(job, log_dir, inter_mode=mox.ModeKeys.EVAL)
    steps = []
    mox.run(run_mode=mox.ModeKeys.PREDICT, log_dir=log_dir, output_fn=steps.extend, output_every_n_steps=1, **job)
    logits = np.concatenate([step["logits"] for step in steps]).astype(np.float64)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    # In the order of the data set: classes by name, and the files of each by name.
    files = [path for name in sorted(CLASSES) for path in sorted((images / name).iterdir())]
    assert [os.fsencode(path.name) for path in files] == [name for step in steps for name in step["name"]]
    return exported.export_path, dict(zip(map(str, files), powers / powers.sum(1, keepdims=True), strict=True))


def _says(capsys, *arguments):
    status = main(["predict", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_what_mox_predict_says_of_files_is_what_predict_said_of_them(images, trained, capsys):
    model, expected = trained
    status, out, err = _says(capsys, model, images, "--json", "--batch_size", "5", "--top", "3")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert told["input"] == "images as input_fn makes them in EVAL"
    assert told["scores"] == "probabilities, the softmax of logits"
    assert [each["image"] for each in told["images"]] == list(expected)
    for each in told["images"]:
        probabilities = expected[each["image"]]
        assert [top["label"] for top in each["top"]] == np.argsort(-probabilities).tolist()
        for top in each["top"]:
            assert top["class"] == CLASSES[top["label"]]
            assert top["score"] == pytest.approx(probabilities[top["label"]], abs=1e-6)
