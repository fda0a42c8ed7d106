"""Images shrunk once, before a training, which then reads and decodes a part of the bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from mox_core.errors import UsageError
from mox_core.whole_numbers import is_whole_number

if TYPE_CHECKING:
    from PIL.Image import Image

QUALITY: Final = 95
"""Of the JPEGs that are written, as Pillow counts; with colours at half the resolution."""
_GAP: Final = 2.0
"""A JPEG is decoded at a scale at which it is still this many times larger, and Lanczos does the rest."""
_BETWEEN: Final = {
    "1": ("L", "L"),
    "P": ("RGB", "RGB"),
    "RGBA": ("RGBa", "RGBA"),
    "LA": ("La", "LA"),
    "I;16": ("I", "I;16"),
}
"""Pillow's modes in which pixels are averaged right, and are written, for those in which they are not."""


def check_max_side(max_side: object) -> None:
    """Check the longest side that images may have.

    Raises:
        UsageError: if it is neither None nor a whole number from 1.
    """
    if max_side is not None and not is_whole_number(max_side, least=1):
        raise UsageError(f"max_side is {max_side!r}; it must be a whole number of pixels from 1, or None.")


def shrunk(content: bytes, max_side: int) -> bytes | None:
    """Return an image file whose longer side is max_side, in the proportions of the image; None if it is no longer now.

    A JPEG stays one, with its Exif data and colour profile; of other formats comes a PNG, of an animation its first
    image. Lanczos filters what is lost, so that nothing flickers that was fine stripes.

    Args:
        content: the bytes of the file.
        max_side: the longest side in pixels.

    Raises:
        Exception: what Pillow raises for a file that is no image, or damaged.
    """
    from PIL import Image  # noqa: PLC0415  (the data sets of images bring it)

    with Image.open(io.BytesIO(content)) as image:
        if max(image.size) <= max_side:
            return None
        is_jpeg = image.format in {"JPEG", "MPO"}
        kept: dict[str, Any] = {name: image.info[name] for name in ("exif", "icc_profile") if image.info.get(name)}
        small = _shrunk(image, max_side)
    buffer = io.BytesIO()
    if is_jpeg:
        small.save(buffer, "JPEG", quality=QUALITY, **kept)
    else:
        small.save(buffer, "PNG", **kept)
    return buffer.getvalue()


def _shrunk(image: Image, max_side: int) -> Image:
    from PIL.Image import Resampling  # noqa: PLC0415  (see above)

    transparent = image.mode == "P" and "transparency" in image.info
    inner, written = _BETWEEN["RGBA"] if transparent else _BETWEEN.get(image.mode, (image.mode, image.mode))
    if transparent:
        image = image.convert("RGBA")
    if inner != image.mode:
        image = image.convert(inner)
    image.thumbnail((max_side, max_side), Resampling.LANCZOS, reducing_gap=_GAP)
    return image if image.mode == written else image.convert(written)
