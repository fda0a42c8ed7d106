"""What lies in folders of images and is not read: left out when they are listed, counted, and said in a line a kind.

Files are told apart by their suffixes, as to open each of 100,000 files takes minutes. Only suffixes of which it is
known that they stand for something else leave a file out: what has none, or another one, may be an image, and reading
tells.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from typing import TYPE_CHECKING, Final

from attrs import evolve, field, frozen

from mox_core.datasets.folders import Folder, join, list_folder
from mox_core.datasets.said import warn_once
from mox_core.errors import DataError
from mox_core.name_lists import number_of, some
from mox_core.stores.folder import is_remote

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_IMAGES_OF_OTHER_FORMATS: Final = """
    ai arw avif cr2 cr3 cur dcm dds dng emf eps exr hdr heic heif hif icns ico j2c j2k jp2 jpf jpx jxl jxr mrw nef orf
    pbm pcx pef pgm pnm ppm psb psd raf rw2 sgi sr2 svg svgz tga tif tiff wdp wmf xbm xcf xpm
"""
_NO_IMAGES: Final = """
    3gp aac aiff avi flac flv m4a m4v mkv mov mp3 mp4 mpeg mpg mts ogg ogv opus wav webm wma wmv
    cfg csv doc docx eml htm html ini json jsonl log md odp ods odt pdf ppt pptx ps rst rtf tex toml tsv txt url webloc
    xhtml xls xlsx xml xmp yaml yml
    7z aae apk bat bz2 cab ckpt cpp css db dll dmg egg exe gz h5 hdf5 ipynb iso jar java js lmdb lnk mat msi npy npz
    onnx parquet pb pickle pkl pt pth py pyc rar rec sh so sqlite sqlite3 tar tfrecord tfrecords tgz whl xz zip zst
    crdownload part
"""
_UNREAD: Final = frozenset(f".{suffix}" for suffix in f"{_IMAGES_OF_OTHER_FORMATS} {_NO_IMAGES}".split())
_MOST_COUNTED: Final = 100_000  # images in a folder that is not read


@frozen
class ImageFolders:
    """Folders of images by name, without the files that no reader takes.

    Attributes:
        root: the folder of the folders, or its URL.
        formats: the formats that are read, as text.
        folders: what may be read.
        unread: how many files of each suffix were left out, by folder.
    """

    root: str
    formats: str
    folders: dict[str, Folder] = field(factory=dict)
    unread: dict[str, Counter[str]] = field(factory=dict)

    def of_no_format(self, names: Iterable[str]) -> str:
        """Return the sentence that says which files some folders hold that no reader takes; '' if none."""
        counts = sum((self.unread[name] for name in names), start=Counter[str]())
        return f" {self._left_out(counts)}" if counts else ""

    def warn(self, expected: str) -> None:
        """Log once which files and folders are not read, in a line each for all folders together."""
        counts = sum(self.unread.values(), start=Counter[str]())
        if counts:
            warn_once(f"{self.root!r}: {self._left_out(counts)}")
        inner = [f"{name}/{folder}" for name, each in self.folders.items() for folder in each.folders]
        if inner:
            held = sum(_number_of_images(join(self.root, *path.split("/"))) for path in inner)
            number = "1 folder among the images is" if len(inner) == 1 else f"{len(inner)} folders among images are"
            images = number_of(held, "image")
            warn_once(f"{self.root!r}: {number} not read, with {images} inside: {some(inner)}. {expected}")

    def _left_out(self, counts: Counter[str]) -> str:
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        by_suffix = ", ".join(f"{suffix} {number}" for suffix, number in ordered)
        number = "1 file is" if counts.total() == 1 else f"{counts.total()} files are"
        return f"{number} left out that no reader takes: {by_suffix} (formats read are {self.formats})."


def image_folders(
    root: str, folders: Mapping[str, Folder], formats: str, *, also_read: Collection[str] = ()
) -> ImageFolders:
    """Return folders of images without the files that no reader takes.

    Args:
        root: the folder of the folders, or its URL.
        folders: what is in each of them, by name.
        formats: the formats that are read, as text.
        also_read: suffixes of images that are read besides JPEG, PNG, GIF, BMP and WebP, as '.tiff'.
    """
    found = ImageFolders(root, formats)
    for name, folder in folders.items():
        counts: Counter[str] = Counter()
        kept = []
        for file in folder.files:
            suffix = suffix_of(file)
            if suffix in _UNREAD and suffix not in also_read:
                counts[suffix] += 1
            else:
                kept.append(file)
        found.folders[name] = evolve(folder, files=kept) if counts else folder
        found.unread[name] = counts
    return found


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name, as '.jpg'; '' without one."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  (a name is text here)


def _number_of_images(path: str) -> int:
    if is_remote(path):
        try:
            files = list_folder(path, "").files
        except DataError:
            return 0
        return sum(suffix_of(file) not in _UNREAD for file in files)
    names = (file for _, _, files in os.walk(path) for file in files)
    may_be_images = (name for name in names if not name.startswith(".") and suffix_of(name) not in _UNREAD)
    return sum(1 for _ in itertools.islice(may_be_images, _MOST_COUNTED))
