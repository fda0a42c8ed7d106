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
_PNG_MODES: Final = ("1", "L", "LA", "RGB", "RGBA", "I;16")
"""Pillow's modes of what a PNG holds."""
_GREY_MODES: Final = ("I", "I;16B", "I;16L", "F")
"""Those that may be deeper."""
_DEEPEST: Final = 65_535


class TooDeepError(ValueError):
    """Pixels are deeper than those of a PNG; the text says what they are, behind a name."""


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
        small = _shrunk(image if is_jpeg else for_png(image), max_side)
    buffer = io.BytesIO()
    if is_jpeg:
        small.save(buffer, "JPEG", quality=QUALITY, **kept)
    else:
        small.save(buffer, "PNG", **kept)
    return buffer.getvalue()


def for_png(image: Image) -> Image:
    """Return an image in a mode that a PNG holds, with the same pixels.

    Raises:
        TooDeepError: if no PNG holds them.
    """
    if image.mode in _GREY_MODES:
        grey = image if image.mode == "F" else image.convert("I")
        lowest, highest = grey.getextrema()
        if image.mode == "F" or not (lowest >= 0 and highest <= _DEEPEST):  # type: ignore[operator]  # of one band
            raise TooDeepError(f"has pixels of Pillow's mode {image.mode!r}, which PNG does not hold.")
        return grey.convert("I;16")
    if image.mode == "P":
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    return image if image.mode in _PNG_MODES else image.convert("RGB")


def _shrunk(image: Image, max_side: int) -> Image:
    import PIL.Image  # noqa: PLC0415  (see above)

    if "A" in image.getbands():
        # Each by itself: data sets drop the opacity, by which Pillow would weigh the colours.
        return PIL.Image.merge(image.mode, [_shrunk(band, max_side) for band in image.split()])
    written = "L" if image.mode == "1" else image.mode
    between = "I" if written == "I;16" else written  # in which pixels are averaged right
    small = image if image.mode == between else image.convert(between)
    small.thumbnail((max_side, max_side), PIL.Image.Resampling.LANCZOS, reducing_gap=_GAP)
    return small if between == written else small.convert(written)
