"""Crops in `input_fn` that are shrunk, for which a JPEG is decoded smaller: against the geometry of the original."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox
from mox_core.testing.reading import read
from mox_datasets_raw.classification import ImageClassificationRawDataset, ImageClassificationRawMetadata

HEIGHT, WIDTH = 421, 603
OUTPUT = (23, 31)
DOWN, ACROSS = 0.35, 0.15  # grey levels a pixel


def ramp():
    """Grey that grows from row to row and from column to column: its value shows the place, between pixels too."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return Image.fromarray(np.round(DOWN * rows + ACROSS * columns).astype(np.uint8)).convert("RGB")


def folder_of(root, images):
    (root / "one").mkdir(parents=True)
    for name, (image, options) in images.items():
        image.save(root / "one" / name, **options)
    return ImageClassificationRawMetadata(root)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    options = {
        "444.jpg": {"subsampling": 0, "quality": 95},
        "420.jpg": {"subsampling": 2, "quality": 95},
        "progressive.jpg": {"progressive": True, "quality": 95},
        "image.png": {},
    }
    return folder_of(tmp_path_factory.mktemp("scaled"), {name: (ramp(), each) for name, each in options.items()})


def shrunk_region(image):
    """A region of a random place and size, 2 to 16 times as large as the output, and where it lies."""
    size = tf.cast(tf.constant(OUTPUT, tf.float32) * tf.random.uniform([], 2.0, 16.0), tf.int32)
    begin = tf.cast(tf.random.uniform([2]) * tf.cast(tf.shape(image)[:2] - size + 1, tf.float32), tf.int32)
    region = tf.slice(image, tf.pad(begin, [[0, 1]]), tf.concat([size, [3]], 0))
    return tf.image.resize(region, OUTPUT), tf.concat([begin, size], 0)


def augmented(mode):
    return mox.get_data_augmentation_fn("resnet_v1_50", mode, 40, 48, resize_side_min=48, resize_side_max=100)


def elements(meta, make, number, *, dct_scaling=True, mode=mox.ModeKeys.TRAIN):
    def input_fn(_mode):
        dataset = ImageClassificationRawDataset(meta, shuffle=False, dct_scaling=dct_scaling)
        image, name = dataset.get(["image", "image_name"])
        return (*make(image), name)

    return [each.values for each in read(input_fn, mode, limit=number)]


def middles(begin, size, output):
    """Where the middles of the pixels of the output lie in the original."""
    return begin + (np.arange(output) + 0.5) * size / output - 0.5


def test_a_crop_that_is_shrunk_shows_the_same_part_of_the_image(files):
    ratios = set()
    for image, (top, left, height, width), name in elements(files, shrunk_region, 60):
        rows = DOWN * middles(top, height, OUTPUT[0])
        columns = ACROSS * middles(left, width, OUTPUT[1])
        error = image - (rows[:, None] + columns)[..., None]
        assert np.abs(error.mean()) < 0.1, (name, height)
        assert np.abs(error).max() < 2
        ratios.add(int(2 ** np.floor(np.log2(min(height / OUTPUT[0], width / OUTPUT[1], 8)))))
    assert ratios == {2, 4, 8}


@pytest.mark.parametrize("mode", [mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL])
def test_the_augmentation_of_photographs_shows_the_same_parts_of_them(files, mode):
    def make(image):
        return (augmented(mode)(image),)

    scaled = elements(files, make, 12, mode=mode)
    exact = elements(files, make, 12, dct_scaling=False, mode=mode)
    for (image, name), (original, same) in zip(scaled, exact, strict=True):
        assert name == same
        assert np.abs((image - original).mean()) < 0.1
        assert np.abs(image - original).max() < 2
        assert (name == b"image.png") == np.array_equal(image, original)


def test_pixels_of_a_crop_that_is_decoded_smaller_are_means_of_the_original(tmp_path):
    noise = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8).repeat(3).reshape(256, 256, 3)
    )
    meta = folder_of(tmp_path, {"noise.jpg": (noise, {"quality": 100, "subsampling": 0})})

    ((image, _),) = elements(meta, lambda image: (tf.image.resize(quarter(image), [32, 32]),), 1)
    pixels = np.asarray(noise).astype(float)[:128, :128]
    np.testing.assert_allclose(image, pixels.reshape(32, 4, 32, 4, 3).mean((1, 3)), atol=2)


def quarter(image):
    side = tf.shape(image)[0]
    return image[: side // 2, : side // 2]


@pytest.mark.parametrize(
    "make",
    [
        lambda image: quarter(tf.cast(image, tf.float32) / 255 - 0.5) * 2,
        lambda image: quarter(tf.image.convert_image_dtype(image, tf.float32)),
        lambda image: tf.cast(quarter(tf.cast(image, tf.int32)), tf.float16) - [104.0, 117.0, 124.0],
    ],
    ids=["arithmetic before and behind the crop", "convert_image_dtype", "casts"],
)
def test_what_keeps_means_may_be_done_before_the_crop_is_resized(files, make, caplog):
    ((image, _),) = elements(files, lambda image: (tf.image.resize(make(image), [32, 32]),), 1)
    ((exact, _),) = elements(files, lambda image: (tf.image.resize(make(image), [32, 32]),), 1, dct_scaling=False)
    assert not [message for message in caplog.messages if message.startswith("dct_scaling")]
    assert not np.array_equal(image, exact)
    assert np.abs(image - exact).max() < 0.02 * max(1, np.ptp(exact))


@pytest.mark.parametrize(
    "make",
    [
        lambda image: (tf.image.resize(quarter(image * 2), [32, 32]),),
        lambda image: (tf.image.resize(quarter(image) * 2, [32, 32]),),
        lambda image: (tf.image.resize(quarter(image) - tf.constant(100, tf.uint8), [32, 32]),),
        lambda image: (tf.image.resize(tf.cast(quarter(image), tf.int8), [32, 32]),),
        lambda image: (tf.image.resize(tf.cast(tf.cast(quarter(image), tf.float32) / 64, tf.int32), [32, 32]),),
        lambda image: (tf.image.resize(255 / (tf.cast(quarter(image), tf.float32) + 1), [32, 32]),),
        lambda image: (tf.image.resize(tf.maximum(tf.cast(quarter(image), tf.float32), 128), [32, 32]),),
        lambda image: (tf.image.resize(image, [32, 32]),),
        lambda image: (tf.image.resize(tf.image.crop_to_bounding_box(image, 0, 0, 200, 200), [32, 32]),),
        lambda image: (tf.image.resize(tf.image.central_crop(image, 0.5), [32, 32], "nearest"),),
        lambda image: (tf.image.resize(tf.image.random_crop(image, [128, 128, 3]), [32, 32], antialias=True),),
    ],
    ids=[
        "bytes doubled before the crop",
        "bytes doubled",
        "bytes subtracted",
        "bytes with a sign",
        "rounded",
        "a quotient",
        "a maximum",
        "no crop",
        "a crop of a fixed size",
        "the nearest pixels",
        "antialias",
    ],
)
def test_where_it_has_no_effect_a_warning_says_so(files, make, caplog):
    ((image, _),) = elements(files, make, 1)
    ((exact, _),) = elements(files, make, 1, dct_scaling=False)
    np.testing.assert_array_equal(image, exact)
    assert [message for message in caplog.messages if message.startswith("dct_scaling has no effect in mode TRAIN")]
