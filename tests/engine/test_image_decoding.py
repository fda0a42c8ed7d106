"""Pixels against Pillow's, for files that Pillow wrote."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mox_core.sdk import decode_image

ROWS, COLUMNS = np.mgrid[0:40, 0:56]
RGB = Image.fromarray(np.stack([COLUMNS * 4, ROWS * 6, (ROWS * COLUMNS) % 256], -1).astype(np.uint8))
NOISE = Image.fromarray(np.random.default_rng(3).integers(0, 256, (61, 47, 3)).astype(np.uint8))
RGBA = RGB.copy()
RGBA.putalpha(Image.fromarray((COLUMNS * 3).astype(np.uint8)))


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ycck(image):
    """A CMYK JPEG whose Adobe marker says that its numbers mean YCCK: both decoders then convert them."""
    content = encoded(image.convert("CMYK"), "JPEG")
    place = content.index(b"Adobe") + 11
    assert content[place] == 0
    return content[:place] + b"\x02" + content[place + 1 :]


def png_of_16_bits(values, color_type):
    """A PNG as its specification says: Pillow writes 16 bits of grey only."""
    height, width = values.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    framed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def with_preview(content, preview):
    """A JPEG with another one in its header, as cameras write it."""
    segment = b"Exif\0\0" + preview
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]


FILES = {
    "jpeg": encoded(RGB, "JPEG", quality=90),
    "jpeg of noise, odd size, colours at half the resolution": encoded(NOISE, "JPEG", quality=75, subsampling=2),
    "jpeg with colours at full resolution": encoded(NOISE, "JPEG", quality=95, subsampling=0),
    "progressive jpeg": encoded(NOISE, "JPEG", progressive=True),
    "grey jpeg": encoded(RGB.convert("L"), "JPEG"),
    "cmyk jpeg": encoded(NOISE.convert("CMYK"), "JPEG"),
    "ycck jpeg": ycck(NOISE),
    "png": encoded(RGB, "PNG"),
    "png with a palette": encoded(RGB.quantize(64), "PNG"),
    "png with a palette of 3 colours, 2 bit": encoded(RGB.quantize(3), "PNG"),
    "png with a palette and a transparent colour": encoded(RGB.quantize(64), "PNG", transparency=5),
    "png with alpha": encoded(RGBA, "PNG"),
    "grey png with alpha": encoded(RGBA.convert("LA"), "PNG"),
    "grey png": encoded(RGB.convert("L"), "PNG"),
    "black and white png": encoded(RGB.convert("1"), "PNG"),
    "gif": encoded(RGB, "GIF"),
    "interlaced gif": encoded(RGB, "GIF", interlace=True),
    "animated gif": encoded(RGB.quantize(32), "GIF", save_all=True, append_images=[RGB.rotate(180).quantize(32)]),
    "bmp, 24 bit": encoded(RGB, "BMP"),
    "bmp, 32 bit": encoded(RGBA, "BMP"),
    "bmp with a palette, 8 bit": encoded(RGB.quantize(64), "BMP"),
    "grey bmp": encoded(RGB.convert("L"), "BMP"),
    "black and white bmp": encoded(RGB.convert("1"), "BMP"),
    "webp": encoded(NOISE, "WEBP", quality=80),
    "lossless webp": encoded(RGB, "WEBP", lossless=True),
    "webp with alpha": encoded(RGBA, "WEBP", lossless=True),
    "animated webp": encoded(RGB, "WEBP", lossless=True, save_all=True, append_images=[RGB.rotate(180)]),
}


@pytest.fixture(scope="module")
def decode():
    """As in a pipeline: one function for all formats, told by the first bytes."""
    return tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def test_the_static_shape_says_three_channels(decode):
    assert decode.get_concrete_function().structured_outputs[0].shape.as_list() == [None, None, 3]


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(decode, name):
    image, is_readable = decode(FILES[name])
    pixels = image.numpy()
    assert is_readable
    assert pixels.dtype == np.uint8
    # Exact for JPEG too: both use the accurate inverse DCT of libjpeg. Other builds of libjpeg may round otherwise.
    tolerance = 1 if "jpeg" in name else 0
    expected = np.asarray(Image.open(io.BytesIO(FILES[name])).convert("RGB"))
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_sixteen_bits_become_their_upper_eight(decode, color_type, channels):
    values = np.random.default_rng(4).integers(0, 65536, (9, 7, channels))
    colours = values[..., :3] if channels > 2 else np.repeat(values[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(decode(png_of_16_bits(values, color_type))[0].numpy(), colours // 256)


def assert_is_refused(decoded):
    """No operation fails, of which TensorFlow would write to stderr."""
    image, is_readable = decoded
    assert not is_readable
    assert image.shape == [1, 1, 3]


@pytest.mark.parametrize("name", FILES)
def test_a_cut_off_file_fails(decode, name):
    content = FILES[name]
    for share in (0.02, 0.3, 0.5, 0.7, 0.9):
        if name == "animated gif" and share > 0.4:
            break  # the first frame is whole
        assert_is_refused(decode(content[: int(share * len(content))]))


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "grey jpeg", "cmyk jpeg", "png", "webp", "bmp, 24 bit"])
def test_a_file_that_lacks_its_last_bytes_fails(decode, name):
    for missing in (1, 2, 3, 10):
        assert_is_refused(decode(FILES[name][:-missing]))


def test_a_cut_off_photo_is_told_by_its_end_though_the_preview_in_it_has_one(decode):
    photo = with_preview(FILES["jpeg"], FILES["grey jpeg"])
    assert decode(photo)[1]
    for share in (0.4, 0.9):
        assert_is_refused(decode(photo[: int(share * len(photo))] + bytes(2000)))


@pytest.mark.parametrize("trailer", [b"\n", bytes(300), bytes(5000), b"\xff\xd9", FILES["png"] + bytes(2000)])
@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "png"])
def test_what_follows_the_end_of_an_image_does_not_matter(decode, name, trailer):
    """Motion photos have a film there, and some programs write a line break."""
    image, is_readable = decode(FILES[name] + trailer)
    assert is_readable
    np.testing.assert_array_equal(image, decode(FILES[name])[0])


@pytest.mark.parametrize("content", [b"", b"\xff", b"\xff\xd8\xff", b"0: daisy\n", b"%PDF-1.4 and more", bytes(1000)])
def test_what_is_no_image_fails(decode, content):
    assert_is_refused(decode(content))


def test_a_format_that_is_not_promised_fails(decode):
    assert_is_refused(decode(encoded(RGB, "TIFF")))
