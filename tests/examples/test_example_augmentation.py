"""examples/augmentation.py, and what becomes of images that are resized as uint8 (box 3-4-2 of the manual)."""

import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mox_core as mox

EXAMPLE = Path(__file__).parents[2] / "examples" / "augmentation.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("augmentation")


@pytest.fixture(scope="module")
def metrics(example, folder):
    return example["main"](folder)


def bilinear(pixels, size, *, centers):
    """Bilinear interpolation in NumPy: TF1 takes the corners of pixels for their places, TF2 their centers."""
    result = pixels.astype(np.float64)
    for axis in (0, 1):
        length = result.shape[axis]
        places = (np.arange(size) + 0.5) * length / size - 0.5 if centers else np.arange(size) * length / size
        places = np.clip(places, 0, length - 1)
        below = np.floor(places).astype(int)
        above = np.minimum(below + 1, length - 1)
        share = np.expand_dims(places - below, [each for each in range(3) if each != axis])
        result = np.take(result, below, axis) * (1 - share) + np.take(result, above, axis) * share
    return result


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def batches(input_fn, steps, **options):
    """What model_fn gets of an input_fn in TRAIN, with the static shapes it sees."""
    got, shapes = [], []

    def model_fn(inputs, mode):
        del mode
        shapes.extend(tuple(each.shape) for each in inputs)
        tf.summary.image("first", inputs[0], max_outputs=1)
        loss = tf.compat.v1.get_variable("w", []) * 0.0
        return mox.ModelSpec(loss=loss, output_info={str(number): each for number, each in enumerate(inputs)})

    mox.run(
        run_mode=mox.ModeKeys.TRAIN,
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.0),
        output_fn=got.extend,
        output_every_n_steps=1,
        max_number_of_steps=steps,
        **options,
    )
    return got, shapes


def test_the_files_are_of_many_sizes_and_what_is_learned_from_them_is_right(metrics, folder):
    sizes = {pixels_of(path).shape for path in folder.glob("digits/train/*/*.png")}
    assert len(sizes) > 300  # of 600 files
    assert metrics["accuracy"] > 0.9  # chance is a third


def test_training_sees_images_of_one_known_shape_each_distorted_in_its_own_way(metrics, example, folder):  # noqa: ARG001
    got, shapes = batches(example["make_input_fn"](folder / "digits"), 2, batch_size=16)
    assert shapes == [(16, 32, 32, 3), (16,)]
    assert got[0]["0"].dtype == np.float32
    path = folder / "digits" / "train" / "8" / "000.png"
    ways = example["seven_ways"](path)
    assert len(np.unique(ways.reshape(7, -1), axis=0)) == 7
    plain = bilinear(pixels_of(path), 32, centers=False)
    np.testing.assert_allclose(ways.mean(axis=(1, 2, 3)), plain.mean(), rtol=0.15)  # it is the same digit, turned


def test_evaluation_sees_the_images_as_they_are(metrics, example, folder):  # noqa: ARG001
    outputs = []
    mox.run(
        run_mode=mox.ModeKeys.PREDICT,
        input_fn=example["make_input_fn"](folder / "digits"),
        model_fn=example["model_fn"],
        output_fn=outputs.extend,
        output_every_n_steps=1,
        batch_size=32,
        checkpoint_path=folder / "log",
    )
    files = sorted((folder / "digits" / "eval").glob("*/*.png"))
    expected = [bilinear(pixels_of(path), 32, centers=False) for path in files]
    np.testing.assert_allclose(np.concatenate([output["images"] for output in outputs]), expected, atol=1e-2)
    assert [int(path.parent.name) for path in files] == [
        (0, 1, 8)[label] for label in np.concatenate([output["labels"] for output in outputs])
    ]


def test_the_picture_has_a_row_for_each_class_and_eight_digits_in_it(metrics, folder):  # noqa: ARG001
    pixels = pixels_of(folder / "augmented.png")
    assert pixels.shape == (3 * 32 * 3, 8 * 32 * 3, 3)
    cells = pixels.reshape(3, 96, 8, 96, 3)
    assert (cells.max(axis=(1, 3, 4)) > 128).all()  # something is drawn in every cell


@pytest.mark.parametrize(
    ("resize", "centers", "rounds_uint8"),
    [
        (lambda image: tf.image.resize(image, [32, 32]), True, False),
        (lambda image: tf.compat.v1.image.resize_images(image, [32, 32]), False, False),
        (lambda image: keras.ops.image.resize(tf.expand_dims(image, 0), [32, 32])[0], True, True),
    ],
    ids=["tf.image", "tf.compat.v1.image", "keras.ops.image"],
)
@pytest.mark.parametrize("kind", [tf.uint8, tf.float32])
def test_resizing_an_image_of_unknown_size_gives_the_interpolated_pixels_whatever_its_type(
    metrics,  # noqa: ARG001
    folder,
    resize,
    centers,
    rounds_uint8,
    kind,
):
    path = folder / "digits" / "train" / "0" / "001.png"

    def input_fn(mode):
        del mode
        image = tf.cast(tf.io.decode_png(tf.io.read_file(str(path)), channels=3), kind)
        image = tf.cast(resize(image), tf.float32)
        image.set_shape([32, 32, 3])
        return image

    got, _ = batches(input_fn, 1, batch_size=1)
    tolerance = 0.51 if rounds_uint8 and kind == tf.uint8 else 0.01
    np.testing.assert_allclose(got[0]["0"][0], bilinear(pixels_of(path), 32, centers=centers), atol=tolerance)


def test_a_resized_uint8_image_is_float_in_0_to_255_which_viewers_of_floats_show_too_bright(folder, metrics, tmp_path):  # noqa: ARG001
    path = folder / "digits" / "train" / "0" / "001.png"

    def make_input_fn(convert):
        def input_fn(mode):
            del mode
            image = tf.io.decode_png(tf.io.read_file(str(path)), channels=3)
            if convert:
                image = tf.image.convert_image_dtype(image, tf.float32)
            return tf.ensure_shape(tf.image.resize(image, [32, 32]), [32, 32, 3])

        return input_fn

    shown, values = {}, {}
    for convert in (False, True):
        log_dir = tmp_path / str(convert)
        values[convert] = batches(make_input_fn(convert), 1, batch_size=1, log_dir=log_dir)[0][0]["0"][0]
        events = EventAccumulator(str(log_dir), size_guidance={"tensors": 0})
        events.Reload()
        _, _, picture = tf.make_ndarray(events.Tensors("first")[0].tensor_proto)
        shown[convert] = tf.io.decode_png(picture).numpy()
    # The pixels are the same; 0..255 without convert_image_dtype, 0..1 with it.
    np.testing.assert_allclose(values[False], values[True] * 255, atol=1e-2)
    np.testing.assert_allclose(shown[True], bilinear(pixels_of(path), 32, centers=True), atol=1.01)
    # A float image of 0..255 is taken for one of 0..1: what is not black is white.
    assert set(np.unique(shown[False][values[False] >= 1])) == {255}
