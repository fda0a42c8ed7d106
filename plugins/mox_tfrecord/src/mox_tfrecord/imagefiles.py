"""Encoding of an image file for a record: its own bytes if TensorFlow decodes them, else a PNG."""

from __future__ import annotations

import io
import os
from pathlib import Path

from attrs import evolve, frozen
from PIL import Image, UnidentifiedImageError

from mox_core.datasets.folders import kind_of, reason_of
from mox_core.datasets.image_bytes import JPEG_END, JPEG_START, PNG_END, PNG_START
from mox_core.datasets.shrunk_images import TooDeepError, for_png, shrunk
from mox_core.errors import DataError


class BadImageError(DataError):
    """A file is no image, or cut off."""


@frozen
class EncodedImage:
    """An encoded image.

    Attributes:
        encoded: the bytes of a JPEG or PNG file.
        format: b"jpeg" or b"png".
        height: in pixels.
        width: in pixels.
        converted_from: the format of the file, if it was neither.
        is_shrunk: whether it has fewer pixels than the file.
    """

    encoded: bytes
    format: bytes
    height: int
    width: int
    converted_from: str = ""
    is_shrunk: bool = False


def read_image(path: str, max_side: int | None = None) -> EncodedImage:
    """Return an image file's own bytes if it is a JPEG or PNG, else those of a PNG with the same pixels.

    The format is recognized by the first bytes, not by the name. JPEGs and PNGs are not decoded: their size is in the
    header, and a cut-off file is recognized by its end (a PNG also by its checksums). Those with a side longer than
    max_side are, and are shrunk.

    Raises:
        BadImageError: if it is no image, or cut off.
        DataError: if the system does not let it be read.
    """
    try:
        if kind := kind_of(os.stat(path).st_mode):  # noqa: PTH116 (a path is text here)
            raise BadImageError(f"{path!r} is {kind}, not a regular file.")
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path!r} cannot be read: {reason_of(error)}. Mend or remove it.") from error
    if not content:
        raise BadImageError(f"{path!r} is empty.")
    try:
        small = None if max_side is None else shrunk(content, max_side)
        stream = io.BytesIO(content if small is None else small)
        with Image.open(stream) as image:
            encoded = _encode(image, stream.getvalue(), end_of_header=stream.tell())
        return encoded if small is None else evolve(encoded, is_shrunk=True)
    except UnidentifiedImageError as error:
        raise BadImageError(f"{path!r} is no image of a format that Pillow knows.") from error
    except (BadImageError, TooDeepError) as error:
        raise BadImageError(f"{path!r} {error}") from error
    except Exception as error:  # Pillow's readers raise many kinds of errors for damaged files
        raise BadImageError(f"{path!r} cannot be read: {type(error).__name__}: {error}.") from error


def _encode(image: Image.Image, content: bytes, *, end_of_header: int) -> EncodedImage:
    width, height = image.size
    if content.startswith(JPEG_START):
        if content.find(JPEG_END, end_of_header) < 0:  # a preview in the header has an end of its own
            raise BadImageError("is a cut-off JPEG.")
        return EncodedImage(content, b"jpeg", height, width)
    if content.startswith(PNG_START):
        image.verify()
        if PNG_END not in content:
            raise BadImageError("is a cut-off PNG.")
        return EncodedImage(content, b"png", height, width)
    return EncodedImage(_to_png(image), b"png", height, width, converted_from=_describe(image))


def _to_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    for_png(image).save(buffer, "PNG")
    return buffer.getvalue()


def _describe(image: Image.Image) -> str:
    frames = getattr(image, "n_frames", 1)
    return f"{image.format}, the first of several images in a file" if frames > 1 else str(image.format)
