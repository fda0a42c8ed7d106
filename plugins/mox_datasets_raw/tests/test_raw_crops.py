"""Crops in `input_fn`, for which no more of a JPEG is decoded: against whole images of Pillow and TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox
from mox_core.errors import DataError
from mox_core.sdk import Order
from mox_core.testing.reading import read
from mox_datasets_raw.classification import ImageClassificationRawDataset, ImageClassificationRawMetadata

SIDE = 48


def picture(height, width, seed):
    """Colours that change slowly, with noise: neither flat nor white noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray(np.clip(pixels + random.integers(-20, 21, pixels.shape), 0, 255).astype(np.uint8))


FILES = {
    "444.jpg": {"subsampling": 0},
    "422.jpg": {"subsampling": 1},
    "420.jpg": {"subsampling": 2, "quality": 60},
    "411.jpg": {"subsampling": "4:1:1"},
    "progressive.jpg": {"progressive": True},
    "restarts.jpg": {"restart_marker_blocks": 3},
    "grey.jpg": {},
    "cmyk.jpg": {},
    "image.png": {},
    "image.gif": {},
    "image.bmp": {},
    "image.webp": {"lossless": True},
}
MODES = {"grey.jpg": "L", "cmyk.jpg": "CMYK", "image.gif": "P"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("crops")
    (root / "one").mkdir()
    (root / "two").mkdir()
    for number, (name, options) in enumerate(FILES.items()):
        image = picture(97 + number, 133 - 2 * number, number).convert(MODES.get(name, "RGB"))
        image.save(root / ("one" if number % 2 else "two") / name, **options)
    return root


def whole_images(root):
    """The pixels of each file by its name, decoded whole by TensorFlow (JPEG) or Pillow."""
    found = {}
    for path in root.glob("*/*.*"):
        if path.suffix == ".jpg":
            found[path.name] = tf.io.decode_jpeg(path.read_bytes(), 3, dct_method="INTEGER_ACCURATE").numpy()
        else:
            with Image.open(path) as image:
                found[path.name] = np.asarray(image.convert("RGB"))
    return found


def random_slice(image):
    height, width = tf.unstack(tf.shape(image)[:2])
    top = tf.random.uniform([], 0, height - SIDE + 1, tf.int32)
    left = tf.random.uniform([], 0, width - SIDE + 1, tf.int32)
    return image[top : top + SIDE, left : left + SIDE], tf.stack([top, left, SIDE, SIDE])


def slice_of_cast(image):
    crop, box = random_slice(tf.cast(image, tf.float32))
    return tf.cast(crop, tf.uint8), box


def bounding_box(image):
    return tf.image.crop_to_bounding_box(image, 11, 7, 40, 50), tf.constant([11, 7, 40, 50])


def from_the_end(image):
    return image[-40:-3, :-5, :], tf.stack([tf.shape(image)[0] - 40, 0, 37, tf.shape(image)[1] - 5])


def distorted(image):
    begin, size, _ = tf.image.sample_distorted_bounding_box(
        tf.shape(image), tf.zeros([1, 0, 4]), area_range=(0.1, 1.0), use_image_if_no_bounding_boxes=True
    )
    return tf.slice(image, begin, size), tf.concat([begin[:2], size[:2]], 0)


def elements(root, crop, *, whole=False, mode="TRAIN", seed=3, start=None, limit=24):
    """What input_fn makes of the images; with `whole`, it also needs all of each image."""
    meta = ImageClassificationRawMetadata(root)

    def input_fn(_mode):
        image, name = ImageClassificationRawDataset(meta).get(["image", "image_name"])
        part, box = crop(image)
        return (part, box, name, tf.reduce_sum(tf.cast(image, tf.int64))) if whole else (part, box, name)

    read_elements = read(input_fn, mode, order=Order(seed=seed), start=start, limit=limit)
    return [(each.after, *each.values[:3]) for each in read_elements]


@pytest.mark.parametrize("crop", [random_slice, slice_of_cast, bounding_box, from_the_end, distorted])
def test_a_crop_has_the_pixels_and_the_place_that_it_has_where_whole_images_are_decoded(folder, crop):
    images = whole_images(folder)
    found = elements(folder, crop)
    assert {name.decode() for _, _, _, name in found} == {*FILES}
    for _, part, (top, left, height, width), name in found:
        image = images[name.decode()]
        np.testing.assert_array_equal(part, image[top : top + height, left : left + width])


def assert_same(found, others):
    for (after, part, box, name), (other_after, other_part, other_box, other_name) in zip(found, others, strict=True):
        assert (after, name) == (other_after, other_name)
        np.testing.assert_array_equal(box, other_box)
        np.testing.assert_array_equal(part, other_part)


@pytest.mark.parametrize(
    ("begin", "size"),
    [([2, 3, 0], [20, 20, 1]), ([2, 3, 1], [10, 11, 2]), ([0, 0, 1], [9, 9, -1]), ([1, 2, 0], [9, 8, -1])],
)
def test_a_slice_may_take_some_of_the_colours(folder, begin, size):
    images = whole_images(folder)
    box = tf.constant([*begin[:2], *size[:2]])
    found = elements(folder, lambda image: (tf.slice(image, begin, size), box))
    for _, part, (top, left, height, width), name in found:
        colours = slice(begin[2], None if size[2] < 0 else begin[2] + size[2])
        expected = images[name.decode()][top : top + height, left : left + width, colours]
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("crop", [random_slice, distorted])
def test_the_same_seed_draws_the_same_crops_whether_or_not_the_rest_of_the_image_is_needed(folder, crop):
    assert_same(elements(folder, crop, limit=14), elements(folder, crop, whole=True, limit=14))


def test_a_resumed_run_crops_what_the_first_one_would_have(folder):
    first = elements(folder, random_slice)
    again = elements(folder, random_slice, start=first[16][0], limit=7)
    assert_same(first[17:], again)


def test_the_augmentation_of_eval_crops_the_image_that_is_resized_first(folder):
    images = whole_images(folder)

    def input_fn(mode):
        image, name = ImageClassificationRawDataset(ImageClassificationRawMetadata(folder)).get(["image", "image_name"])
        return mox.get_data_augmentation_fn("resnet_v1_50", mode, 64, 64, resize_side_min=80)(image), name

    for each in read(input_fn, "EVAL", limit=12):
        image, name = each.values
        whole = images[name.decode()]
        size = np.round(np.array(whole.shape[:2]) * 80 / min(whole.shape[:2])).astype(int)
        resized = tf.image.resize(whole, size).numpy()
        top, left = (size - 64) // 2
        np.testing.assert_allclose(image, resized[top : top + 64, left : left + 64], atol=0.01)


def cut_below(path, part):
    """Leave only the first part of the coded pixels of a JPEG, which still has its end."""
    content = path.read_bytes()
    begin = content.rindex(b"\xff\xda")
    path.write_bytes(content[: begin + int(part * (len(content) - begin))] + b"\xff\xd9")


def test_what_is_damaged_below_the_crop_is_not_read(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        picture(160, 96, 5).save(tmp_path / name / f"{name}.jpg", subsampling=0)
    whole = whole_images(tmp_path)["one.jpg"]
    cut_below(tmp_path / "one" / "one.jpg", 0.6)
    found = elements(tmp_path, lambda image: (image[8:40, 10:60], tf.zeros([4])), limit=4)
    assert {name for *_, name in found} == {b"one.jpg", b"two.jpg"}
    for _, part, _, _ in found:
        np.testing.assert_array_equal(part, whole[8:40, 10:60])


def test_an_image_that_is_too_small_for_the_crop_ends_the_run_by_name_and_a_bad_one_is_left_out(tmp_path, caplog):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    for number in range(6):
        picture(96, 96, number).save(tmp_path / "one" / f"{number}.jpg")
    (tmp_path / "two" / "bad.jpg").write_bytes((tmp_path / "one" / "0.jpg").read_bytes()[:-40])
    picture(96, 96, 9).save(tmp_path / "two" / "good.jpg")
    names = [name for *_, name in elements(tmp_path, random_slice, limit=21)]
    assert b"bad.jpg" not in names
    assert len({*names}) == 7
    assert [each for each in caplog.messages if "bad.jpg" in each] == [
        f"{str(tmp_path / 'two' / 'bad.jpg')!r} cannot be read (damaged, empty, or of no known format): it is left out."
    ]
    picture(40, 96, 9).save(tmp_path / "two" / "small.jpg")
    with pytest.raises(DataError, match=r"cannot be read in mode TRAIN.*It fails for '.*small\.jpg'"):
        elements(tmp_path, random_slice, limit=32)


def test_a_crop_that_fits_in_no_image_ends_the_run_at_once(folder):
    with pytest.raises(DataError, match=r"cannot be read in mode TRAIN.*It fails for "):
        elements(folder, lambda image: (tf.slice(image, [0, 0, 0], [500, 500, 3]), tf.zeros([4])))
    with pytest.raises(DataError, match=r"width must be >= target.*It fails for "):
        elements(folder, lambda image: (tf.image.crop_to_bounding_box(image, 0, 0, 50, 500), tf.zeros([4])))
