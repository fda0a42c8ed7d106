"""What the bytes of an image file tell, and how pixels are made of them: one rule for all that reads images."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP", "WebP")
"""The formats that are read."""
JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xae\x42\x60\x82"
GIF_START, BMP_START, RIFF, WEBP = b"GIF8", b"BM", b"RIFF", b"WEBP"
WEBP_PLACE: Final = 8
"""Where `WEBP` stands in a file that begins with `RIFF`."""
TAIL: Final = 1024
"""Bytes in which the end of most files lies; behind it some programs write a few bytes of their own."""
JPEG_OPTIONS: Final[dict[str, Any]] = {"channels": 3, "dct_method": "INTEGER_ACCURATE"}
"""Of TensorFlow's decoder of JPEG: its default, INTEGER_FAST, is off by up to 5 and no faster."""

_MARKS: Final = (
    (0, JPEG_START, "JPEG"),
    (0, PNG_START, "PNG"),
    (0, GIF_START, "GIF"),
    (0, BMP_START, "BMP"),
    (WEBP_PLACE, WEBP, "WebP"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypavif", "AVIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"%PDF", "PDF"),
    (0, b"<!DOCTYPE", "HTML"),
    (0, b"<html", "HTML"),
    (0, b"<svg", "SVG"),
)
"""Formats by bytes at a place."""

# TensorFlow's decoder of BMP takes palette indices for shades of grey and lacks 1, 4 and 16 bit; that of GIF decodes
# every frame of an animation, cut-off ones too; that of WebP, new in TensorFlow 2.20, returns wrong pixels for
# animations. Pillow reads all three, whole or not at all.
_OF_PILLOW: Final = ("BMP", "GIF", "WEBP")


def format_of(content: bytes) -> str:
    """Return the format of a file by its first bytes, also one that is not read; '' for none that is known."""
    return next((name for place, mark, name in _MARKS if content.startswith(mark, place)), "")


def has_end(content: bytes) -> bool:
    """Return whether a JPEG or PNG is not cut off; a recording or a preview may follow its end.

    A preview in the header of a JPEG has a beginning and an end of its own, and nothing else in a JPEG has either.
    """
    if content.startswith(PNG_START):
        return PNG_END in content
    return JPEG_END in content[-TAIL:] or content.count(JPEG_END) >= max(content.count(JPEG_START), 1)


def pixels_by_pillow(content: bytes) -> npt.NDArray[np.uint8]:
    """Return the pixels of a BMP, GIF or WebP, of its first frame, uint8 of shape [height, width, 3].

    Raises:
        ImportError: without Pillow, which the data sets of images bring.
        Exception: what Pillow raises for a file that is none of these, or damaged.
    """
    import numpy as np
    from PIL import Image  # noqa: PLC0415  (only for these formats)

    with Image.open(io.BytesIO(content), formats=_OF_PILLOW) as image:
        return np.asarray(image.convert("RGB"))
