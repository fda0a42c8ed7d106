"""Lists of the classes and images of a folder of class folders, `src_dir/<class>/<image>`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from attrs import frozen
from PIL import Image

from mox_core.datasets.folders import list_class_folders, list_folder
from mox_core.datasets.image_folders import image_folders
from mox_core.datasets.labels import FILENAME, has_labels, read_labels
from mox_core.datasets.names import check_class_names
from mox_core.errors import DataError
from mox_core.name_lists import number_of, some

if TYPE_CHECKING:
    from pathlib import Path

EXPECTED = "Expected is a folder for each class with the images of that class in it: src_dir/<class>/<image>."


@frozen
class ImageFile:
    """One image of a class.

    Attributes:
        path: the path of the file.
        label: the index of its class.
    """

    path: str
    label: int


def list_images(src_dir: Path) -> tuple[list[str], list[ImageFile]]:
    """Return the names of the classes by index, and the images sorted by class and name; hidden files are left out.

    The classes have the order of labels.txt if it exists, else that of their names. Whatever is no folder, and has no
    suffix of something else, is taken for an image, also what cannot be read as one: reading it tells why.

    Raises:
        DataError: if the folder has no class folders, a class has no image, or labels.txt names other classes.
    """
    entries = list_class_folders(str(src_dir), EXPECTED)
    folders, files = entries.folders, entries.files
    if not folders:
        found = f"holds {number_of(len(files), 'file')} ({some(files)}) and no folder" if files else "is empty"
        raise DataError(f"src_dir {str(src_dir)!r} {found}. {EXPECTED}")
    classes = _order(src_dir, folders)
    content = {name: list_folder(str(src_dir / name), EXPECTED) for name in classes}
    among = image_folders(str(src_dir), content, "those of Pillow", also_read=Image.registered_extensions())
    images: list[ImageFile] = []
    for label, (name, entries) in enumerate(among.folders.items()):
        inner, files = entries.folders, sorted([*entries.readable_or_broken, *entries.special])
        if not files:
            held = f"but folders ({some(inner)})" if inner else "nor anything else"
            raise DataError(
                f"class folder {str(src_dir / name)!r} holds no image, {held}. {EXPECTED} "
                f"Fill it, or remove it (from {FILENAME} too).{among.of_no_format([name])}"
            )
        images.extend(ImageFile(f"{src_dir / name}{os.sep}{file}", label) for file in files)
    among.warn(EXPECTED)
    return classes, images


def _order(src_dir: Path, folders: list[str]) -> list[str]:
    """Return the class folders in the order of labels.txt, if it exists."""
    check_class_names(folders, what="class folder", where=str(src_dir))
    path = src_dir / FILENAME
    if not has_labels(path):
        return folders
    classes = read_labels(path, distinct=True)
    if sorted(classes) != folders:
        lacking, extra = sorted(set(classes) - set(folders)), sorted(set(folders) - set(classes))
        raise DataError(
            f"{str(path)!r} disagrees with the class folders beside it: it names {some(lacking) or 'none'} without a "
            f"folder, and lacks {some(extra) or 'none'}. It must name each class folder once, and nothing else."
        )
    return classes
