"""A small trained model that the tests of the formats export, and a way to load it where packages are missing."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import forked
import mox_core as mox

IMAGES = np.random.default_rng(5).normal(size=(12, 6, 6, 1)).astype(np.float32)
LABELS = (IMAGES.mean((1, 2, 3)) > 0).astype(np.int64)


def input_fn(mode):
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    return dataset.repeat() if mode == mox.ModeKeys.TRAIN else dataset


def model_fn(inputs, mode):
    """Keras layers and batch normalization, get_variable, a branch, a device and a custom gradient (silu)."""
    images, labels = inputs
    training = mode == mox.ModeKeys.TRAIN
    with tf.device("/cpu:0"):
        x = keras.layers.Conv2D(4, 3, name="conv")(images)
        x = keras.layers.BatchNormalization(momentum=0.5)(x, training=training)
        x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(tf.nn.silu(x)), training=training)
        logits = keras.layers.Dense(2)(x) + x @ tf.compat.v1.get_variable("head/weights", [64, 2])
        logits = tf.cond(tf.size(images) > 0, lambda: 1.0 * logits, lambda: logits)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    return mox.ModelSpec(
        loss=loss,
        log_info={"loss": loss},
        output_info={"logits": logits},
        # The names of inner ops and layers are taken, too.
        export_spec=mox.ExportSpec({"Images": images}, {"conv": logits, "model": tf.argmax(logits, 1)}),
    )


class Trained:
    """A trained model: `logits` are those of PREDICT for `images`; `export` writes it."""

    images = IMAGES

    def __init__(self, folder):
        self.folder = folder
        mox.run(
            input_fn=input_fn,
            model_fn=model_fn,
            optimizer_fn=lambda: tf.compat.v1.train.MomentumOptimizer(0.05, 0.9),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=8,
            log_dir=folder / "log",
            max_number_of_steps=10,
        )
        windows = []
        self.run(mox.ModeKeys.PREDICT, output_fn=windows.extend, output_every_n_steps=1)
        self.logits = np.concatenate([step["logits"] for step in windows])
        assert np.ptp(self.logits) > 0.1, "the logits say nothing"

    def run(self, run_mode, **options):
        arguments = {"input_fn": input_fn, "model_fn": model_fn, "batch_size": 5}
        return mox.run(run_mode=run_mode, checkpoint_path=self.folder / "log", **arguments | options)

    def export(self, name, **options):
        """Evaluates with the trained weights, and exports; returns the version folder."""
        return Path(self.run(mox.ModeKeys.EVAL, log_dir=self.folder / name, export_model=name, **options).export_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run_without():
    """Runs a program, to which some packages are missing, and returns the JSON that it prints."""

    def run(missing, program, *arguments):
        hidden = f"import sys\nfor name in {missing!r}:\n    sys.modules[name] = None\n"
        command = [sys.executable, "-c", hidden + program, *map(str, arguments)]
        start = subprocess.run if "tensorflow" in missing else forked.run
        done = start(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return run


@pytest.fixture
def export(tmp_path):
    """Exports, in a format, a model that makes its outputs by a function of its one input `x`."""

    def export(name, outputs, data):
        def model_fn(inputs, mode):
            x = inputs[0]
            spec = mox.ExportSpec({"x": x}, outputs(x)) if mode == mox.ModeKeys.EXPORT else None
            return mox.ModelSpec(loss=tf.compat.v1.get_variable("v", []) ** 2, export_spec=spec)

        result = mox.run(
            input_fn=lambda _: tf.data.Dataset.from_tensor_slices(data),
            model_fn=model_fn,
            optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=2,
            max_number_of_steps=1,
            log_dir=tmp_path / "log",
            export_model=name,
        )
        return Path(result.export_path)

    return export


@pytest.fixture
def refusal(export, tmp_path):
    """Returns what is said of a model that cannot be exported, of which nothing is left."""

    def refusal(name, outputs, *, dtype=np.float32):
        data = np.zeros([4, 3, 3], dtype) if dtype is not str else np.full([4], "text")
        with pytest.raises(mox.UsageError) as error:
            export(name, outputs, data)
        assert list(tmp_path.iterdir()) == []
        return str(error.value)

    return refusal
