"""examples/predict_to_csv.py: every file of a folder once, in order, with what the network says of that very file."""

import csv
import runpy
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "predict_to_csv.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("predict_to_csv")


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def share(example, folder):
    return example["main"](folder)


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), np.float32)[..., np.newaxis] / 255


def test_every_file_of_the_folder_is_there_once_and_in_the_order_of_the_listing(share, folder):  # noqa: ARG001
    unseen = folder / "digits" / "unseen"
    files = sorted(path.relative_to(unseen).as_posix() for path in unseen.glob("*/*"))
    assert len(files) == 500  # seven batches of 64 and one of 52
    assert [row["file"] for row in rows_of(folder / "predictions.csv")] == files


def test_each_row_is_about_its_own_file(share, folder):  # noqa: ARG001
    model = keras.Sequential(
        [
            keras.Input([28, 28, 1]),
            keras.layers.Conv2D(16, 5, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    saved = tf.train.load_checkpoint(str(folder / "log"))
    names = [f"{layer}/{kind}" for layer in ("conv2d", "conv2d_1", "dense") for kind in ("kernel", "bias")]
    model.set_weights([saved.get_tensor(name) for name in names])

    rows = rows_of(folder / "predictions.csv")
    images = np.stack([pixels_of(folder / "digits" / "unseen" / row["file"]) for row in rows])
    probabilities = model.predict(images, verbose=0)
    assert [int(row["prediction"]) for row in rows] == probabilities.argmax(axis=1).tolist()
    np.testing.assert_allclose([float(row["probability"]) for row in rows], probabilities.max(axis=1), atol=2e-4)


def test_joined_with_the_classes_of_the_files_most_are_right(share):
    assert share > 0.85  # chance is 0.1


def test_names_of_any_form_come_back_and_a_file_that_cannot_be_read_is_missing_and_named(
    share,  # noqa: ARG001
    example,
    folder,
    tmp_path,
    caplog,
):
    files = sorted((folder / "digits" / "unseen").glob("*/*"))[::100]
    names = ['0/eine, "Null".png', "0/零.png", "1/eins.png", "1/cut off.png", "2/zwei.png"]
    for name, source in zip(names, files, strict=True):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / "images" / name)
    broken = tmp_path / "images" / "1" / "cut off.png"
    broken.write_bytes(broken.read_bytes()[:100])

    example["predict"](tmp_path / "images", folder / "log", tmp_path / "predictions.csv")
    names.remove("1/cut off.png")
    assert sorted(row["file"] for row in rows_of(tmp_path / "predictions.csv")) == sorted(names)
    assert "cut off.png" in caplog.text
