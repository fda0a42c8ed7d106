"""Folders of images on a store: a real server that speaks S3, and what was asked of it."""

import collections
import gc
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import forked
import mox_core as mox
from mox_core.datasets import file_cache, originals
from mox_core.engine.input.bad_samples import BadSampleReport
from mox_core.engine.input.order import Order
from mox_core.stores import transfers

TRAIN, EVAL = mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL
JOB = Path(__file__).parents[1] / "engine" / "job.py"
COUNTS = {"daisy": 7, "roses": 9, "tulips": 8}
FILES = sorted(f"data/{name}/{number}.png" for name, count in COUNTS.items() for number in range(count))


@pytest.fixture(autouse=True)
def _places(monkeypatch, tmp_path):
    monkeypatch.setattr(transfers, "_FIRST_PAUSE", 0.01)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore's own
    monkeypatch.setenv("DLS_LOCAL_CACHE_PATH", str(tmp_path / "copies"))
    yield
    gc.collect()  # the traceback of an expected error may hold an iterator


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    """Three classes of images of one size, in an order of labels.txt that is not theirs by name."""
    root, random = tmp_path_factory.mktemp("flowers"), np.random.default_rng(3)
    for name, count in COUNTS.items():
        (root / name).mkdir()
        for number in range(count):
            pixels = random.integers(0, 255, [4, 5, 3], np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    (root / "labels.txt").write_text("0: tulips\n1: daisy\n2: roses\n")
    return root


def dataset_of(base, **options):
    return mox.ImageClassificationRawDataset(mox.ImageClassificationRawMetadata(base), **options)


def run(base, log_dir, mode=TRAIN, steps=1000, **options):
    """Train a linear classifier with Adam, or evaluate it."""

    def input_fn(mode):
        endless = {} if mode == TRAIN else {"num_epochs": 1, "shuffle": False}
        image, label = dataset_of(base, **endless, **options).get(["image", "label"])
        return tf.reshape(tf.cast(image, tf.float32) / 255.0, [60]), label

    def model_fn(inputs, mode):
        del mode
        weights = tf.compat.v1.get_variable("weights", initializer=tf.zeros([60, 3]))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(inputs[1], inputs[0] @ weights)
        return mox.ModelSpec(loss=tf.reduce_mean(losses), log_info={"loss": tf.reduce_mean(losses)})

    tf.random.set_seed(11)
    return mox.run(
        input_fn=input_fn, model_fn=model_fn, optimizer_fn=lambda: tf.compat.v1.train.AdamOptimizer(0.1),
        run_mode=mode, batch_size=4, log_dir=log_dir, max_number_of_steps=steps,
    )  # fmt: skip


def weights_in(log_dir):
    return tf.train.load_checkpoint(str(log_dir)).get_tensor("weights")


def read(dataset, limit=None, report=None):
    found = dataset.source().dataset(order=Order(seed=1), start=0, needed=None, report=report or BadSampleReport())
    taken = found if limit is None else found.take(limit)
    return [{key: value.numpy() for key, value in features.items()} for _, features in taken]


def same(first, second):
    return len(first) == len(second) and all(
        each.keys() == other.keys() and all(np.array_equal(each[key], other[key]) for key in each)
        for each, other in zip(first, second, strict=True)
    )


def test_a_training_a_resume_and_an_evaluation_are_those_of_the_same_files_on_a_disk(
    flowers, uploaded, tmp_path, s3_server, s3
):
    results = {}
    for name, base in (("disk", str(flowers)), ("store", uploaded(flowers))):
        for steps in (5, 9):  # the second one goes on in the second epoch
            run(base, tmp_path / name, steps=steps)
        results[name] = run(base, tmp_path / name, EVAL).metrics["loss"]
    np.testing.assert_array_equal(weights_in(tmp_path / "disk"), weights_in(tmp_path / "store"))
    assert np.any(weights_in(tmp_path / "disk"))
    assert results["disk"] == results["store"]
    assert s3_server.fetched(s3, end=".png") == FILES  # each once: the later runs have found the copies
