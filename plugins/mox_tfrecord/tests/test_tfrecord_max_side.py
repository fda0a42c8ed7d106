"""Images that are shrunk when records are written, and crops of images in records."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox
from mox_core.errors import DataError, UsageError
from mox_core.testing.reading import read as elements_of
from records import features_of


def test_max_side_shrinks_longer_images_and_leaves_the_bytes_of_the_others(tmp_path):
    random = np.random.default_rng(0)
    waves = 127 + 100 * np.sin(np.arange(300)[:, None] / 20) * np.cos(np.arange(400) / 25)
    large = Image.fromarray(np.stack([waves, waves[::-1], 255 - waves], -1).astype(np.uint8))
    noise = Image.fromarray(random.integers(0, 256, (300, 400, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    folder = tmp_path / "src" / "one"
    folder.mkdir(parents=True)
    large.save(folder / "large.jpg", exif=exif, quality=95)
    large.convert("L").save(folder / "grey.jpg", quality=95)
    large.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    large.save(folder / "large.png")
    large.quantize(64).save(folder / "palette.png")
    noise.convert("L").convert("I;16").save(folder / "deep.png")
    large.save(folder / "large.bmp")
    large.resize((100, 75)).save(folder / "small.jpg")
    noise.crop((0, 0, 100, 100)).save(folder / "edge.png")
    written = mox.write_image_classification_tfrecords(tmp_path / "src", tmp_path / "dst", num_shards=1, max_side=100)
    assert "7 shrunk" in str(written)
    content = {}
    for record in features_of(*written.files):
        content[record["image/filename"].decode()] = record["image/encoded"]
        size = Image.open(io.BytesIO(record["image/encoded"])).size
        assert max(size) == 100
        assert size == (record["image/width"], record["image/height"])
    for name in ("small.jpg", "edge.png"):
        assert content[name] == (folder / name).read_bytes()
    # The mean of 4 by 4 pixels is another good filter: the picture is smooth.
    expected = np.asarray(large).reshape(75, 4, 100, 4, 3).mean((1, 3))
    for name in ("large.jpg", "large.png", "large.bmp", "cmyk.jpg"):
        pixels = tf.io.decode_image(content[name], channels=3).numpy()
        assert np.abs(pixels - expected).mean() < 4, name  # colours of a JPEG have half the resolution
    assert tf.io.decode_image(content["grey.jpg"]).shape == (75, 100, 1)
    deep = Image.open(io.BytesIO(content["deep.png"]))
    assert deep.mode.startswith("I")
    assert np.std(np.asarray(deep)) < np.std(np.asarray(noise.convert("L"))) / 3  # the mean of 16 has a fourth
    assert Image.open(io.BytesIO(content["large.jpg"])).getexif()[0x0112] == 6


@pytest.mark.parametrize("max_side", [None, 32])
def test_pixels_of_every_mode_are_those_that_are_read_of_the_file(tmp_path, max_side):
    """Of areas of one colour, whose mean is that colour; opacity is no part of it."""
    folder = tmp_path / "src" / "one"
    folder.mkdir(parents=True)
    pixels = np.full((64, 64, 4), 255, np.uint8)
    pixels[..., 3] = 0
    pixels[16:48, 16:48] = [200, 0, 0, 255]
    Image.fromarray(pixels).save(folder / "clear.png")
    Image.fromarray(pixels).convert("LA").save(folder / "clear_grey.png")
    Image.new("P", (64, 64), 7).save(folder / "clear.gif", transparency=7)
    for mode in ("CMYK", "YCbCr", "LAB"):
        Image.new(mode, (64, 64), (90, 200, 100)).save(folder / f"{mode}.tif")
    (folder / "deep.pgm").write_bytes(b"P5 64 64 65535\n" + np.full([64, 64], 40_000, ">u2").tobytes())
    written = mox.write_image_classification_tfrecords(tmp_path / "src", tmp_path / "dst", max_side=max_side)
    found = features_of(*written.files)
    assert len(found) == 7
    for record in found:
        image = Image.open(io.BytesIO(record["image/encoded"]))
        with Image.open(folder / record["image/filename"].decode()) as original:
            if image.mode == "I;16":
                assert set(np.asarray(image).ravel()) == {40_000}
                continue
            expected = original.convert("RGB").getpixel((0, 0))
        assert image.convert("RGB").getpixel((0, 0)) == expected, record["image/filename"]


@pytest.mark.parametrize("max_side", [0, -1, 2.5, "512", True])
def test_a_wrong_max_side_is_refused(tmp_path, max_side):
    with pytest.raises(UsageError, match=f"max_side is {max_side!r}; it must be a whole number of pixels from 1"):
        mox.write_image_classification_tfrecords(tmp_path, tmp_path.parent / "dst", max_side=max_side)


def test_a_damaged_image_is_told_where_images_are_shrunk(tmp_path):
    folder = tmp_path / "src" / "one"
    folder.mkdir(parents=True)
    Image.new("RGB", (90, 60)).save(folder / "good.jpg")
    (folder / "bad.jpg").write_bytes((folder / "good.jpg").read_bytes()[:400])
    with pytest.raises(DataError, match=r"bad\.jpg' (is a cut-off JPEG|cannot be read: OSError)"):
        mox.write_image_classification_tfrecords(tmp_path / "src", tmp_path / "dst", max_side=30)
    assert not (tmp_path / "dst" / "labels.txt").exists()
    options = {"max_side": 30, "on_bad_image": "skip"}
    written = mox.write_image_classification_tfrecords(tmp_path / "src", tmp_path / "dst", **options)
    assert (written.num_images, written.num_shrunk, len(written.skipped)) == (1, 1, 1)


def test_a_crop_of_images_in_records_is_that_of_whole_images(tmp_path):
    random = np.random.default_rng(0)
    folder = tmp_path / "src" / "one"
    folder.mkdir(parents=True)
    for number in range(4):
        pixels = random.integers(0, 256, (70 + number, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.{'png' if number == 3 else 'jpg'}")
    mox.write_image_classification_tfrecords(tmp_path / "src", tmp_path / "dst", num_shards=1)
    meta = mox.ImageClassificationTFRecordMetadata(tmp_path / "dst", "*.tfrecord")

    def input_fn(_mode):
        image, name = mox.ImageClassificationTFRecordDataset(meta).get(["image", "image_name"])
        return tf.image.random_crop(image[5:-6, 7:], [32, 32, 3]), image_slice(image), name

    def image_slice(image):
        return image[20:50, 31:71]

    def alone(_mode):
        image, name = mox.ImageClassificationTFRecordDataset(meta).get(["image", "image_name"])
        return image_slice(image), name

    twice = {each.values[2]: each.values[1] for each in elements_of(input_fn, "TRAIN", limit=8)}
    for each in elements_of(alone, "TRAIN", limit=8):
        crop, name = each.values
        content = (folder / name.decode()).read_bytes()
        if name.endswith(b"png"):
            image = tf.io.decode_png(content, 3)
        else:
            image = tf.io.decode_jpeg(content, 3, dct_method="INTEGER_ACCURATE")
        np.testing.assert_array_equal(crop, image_slice(image))
        np.testing.assert_array_equal(crop, twice[name])
