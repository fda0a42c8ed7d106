"""Lists of the classes and images of a folder, sorted, so that they are the same on every machine."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from typing import TYPE_CHECKING

import tensorflow as tf
from attrs import evolve, field, frozen

from mox_core.datasets.folders import join, list_class_folders, list_folder, list_folders, warn_of_unread
from mox_core.datasets.image_bytes import FORMATS
from mox_core.datasets.image_folders import ImageFolders, image_folders
from mox_core.datasets.names import check_class_names
from mox_core.datasets.said import is_new
from mox_core.errors import DataError
from mox_core.name_lists import number_of, some, some_explained
from mox_core.sdk import captured_constant, info_logging
from mox_core.stores.folder import is_remote
from mox_datasets_raw.labels import read_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mox_core.datasets.folders import Folder
    from mox_core.stores.folder import RemoteFile

CLASS_FOLDERS = "Expected is a folder for each class with the images of that class in it: base_dir/<class>/<image>."
READ = ", ".join(FORMATS)

_told: dict[tuple[str, tuple[str, ...]], str] = {}
"""Where a list of classes was logged first, by the folder around it: its parts, train and eval, have the same."""


def log_metadata(base_dir: str, num_samples: int, labels: list[str]) -> None:
    """Log once the number of samples, and the index of each class, which serving the model needs."""
    logger = tf.get_logger()
    if not is_new(repr((base_dir, num_samples, labels))):
        return
    with info_logging():  # also outside of a run
        logger.info("Total %d files found in %r", num_samples, base_dir)
        logger.info("Total number of samples is %d", num_samples)
        around = base_dir.rstrip("/").rpartition("/")[0]  # a path or a URL
        told = _told.setdefault((around, tuple(labels)), base_dir)
        if told != base_dir:
            logger.info("Labels index to name: as in %r", told)
            return
        logger.info("Labels index to name:")
        for index, name in enumerate(labels):
            logger.info("%d: %r", index, name)


@frozen(slots=False, eq=False)
class ImageFiles:
    """The images of a data set by index: image i is the file names[i] in the folder folders[folder_of[i]] of `root`.

    Attributes:
        root: the folder of the folders, or its URL.
        originals: what is on the store, by the paths below the URL.
    """

    root: str
    folders: list[str]
    folder_of: list[int]
    names: list[str]
    originals: Mapping[str, RemoteFile] = field(factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        """Return the path of the image with an index."""
        return join(self.root, self.folders[self.folder_of[index]], self.names[index])

    def name_tensor(self, index: tf.Tensor) -> tf.Tensor:
        """Return the file name of the image with an index, without its folder."""
        name: tf.Tensor = tf.gather(self._names_table, index)
        return name

    def folder_tensor(self, index: tf.Tensor) -> tf.Tensor:
        """Return the index of the folder of the image with an index."""
        folder: tf.Tensor = tf.gather(self._folder_of_table, index)
        return folder

    def path_tensor(self, index: tf.Tensor) -> tf.Tensor:
        """Return the path of the image with an index."""
        folder = tf.gather(self._folders_table, self.folder_tensor(index))
        path: tf.Tensor = tf.strings.join([folder, self.name_tensor(index)], os.sep)
        return path

    # Names of files are bytes, and not always text.
    @functools.cached_property
    def _names_table(self) -> tf.Tensor:
        if sys.getfilesystemencoding() == "utf-8":
            with contextlib.suppress(ValueError):  # of a name that is no text
                return captured_constant(self.names, tf.string)  # without a second list of a million names
        return captured_constant([os.fsencode(name) for name in self.names], tf.string)

    @functools.cached_property
    def _folders_table(self) -> tf.Tensor:
        return captured_constant([os.fsencode(join(self.root, folder)) for folder in self.folders], tf.string)

    @functools.cached_property
    def _folder_of_table(self) -> tf.Tensor:
        return captured_constant(self.folder_of, tf.int64)


def list_classes(base_dir: str, labels_filename: str) -> dict[str, Folder]:
    """Return the folder of each class, in the order of the classes: that of labels.txt, else sorted by name.

    Raises:
        DataError: if the folder has no class folders, a class is empty, or labels.txt names other classes.
    """
    entries = list_class_folders(base_dir, CLASS_FOLDERS)
    folders, others = entries.folders, entries.files
    if not folders:
        found = f"holds {number_of(len(others), 'file')} ({some(others)}) and no folder" if others else "is empty"
        raise DataError(f"{base_dir!r} {found}. {CLASS_FOLDERS}")
    check_class_names(folders, what="class folder", where=base_dir)
    order = read_labels(base_dir, labels_filename)
    if order is not None:
        _check_agreement(base_dir, labels_filename, order, folders)
    names = order or folders
    entries_of = list_folders([join(base_dir, name) for name in names], CLASS_FOLDERS)
    images = image_folders(base_dir, dict(zip(names, entries_of, strict=True)), READ)
    content = images.folders
    for name, entries in content.items():
        _check_images(images, name, entries)
    empty = [name for name, entries in content.items() if not entries.readable_or_broken]
    if empty:
        raise DataError(
            f"class folders without an image in {base_dir!r}: {some(empty)} ({len(empty)} of {len(content)}). "
            f"Each class needs an image: fill the folder, or remove it (from labels.txt too)."
            f"{images.of_no_format(empty)}"
        )
    warn_of_the_rest(images, CLASS_FOLDERS)
    return content


def warn_of_the_rest(images: ImageFolders, expected: str) -> None:
    """Log once what lies in folders of images and is not read."""
    for name, entries in images.folders.items():
        warn_of_unread(join(images.root, name), evolve(entries, folders=[]))
    images.warn(expected)


def _check_images(images: ImageFolders, name: str, entries: Folder) -> None:
    """Check what is in the folder of a class."""
    if not entries.readable_or_broken and entries.folders:
        raise DataError(
            f"class folder {name!r} in {images.root!r} holds no image, but folders ({some(entries.folders)}). "
            f"{CLASS_FOLDERS} Is base_dir a folder too high?{images.of_no_format([name])}"
        )


def originals_of(folders: Mapping[str, Folder]) -> dict[str, RemoteFile]:
    """Return what is in some folders on a store, by the paths from the folder above on; nothing of local ones."""
    return {f"{name}/{file}": found for name, each in folders.items() for file, found in each.originals.items()}


def check_folders(redirect_dir: str, folders: Sequence[str], base_dir: str) -> dict[str, Folder]:
    """Return those folders of a redirect_dir that replace folders of the base_dir.

    Raises:
        DataError: if it lacks one, or holds what cannot be read as a file.
    """
    rule = f"redirect_dir holds the same files as base_dir {base_dir!r}, which are then read from there."
    list_folder(redirect_dir, rule)
    if not is_remote(redirect_dir):
        missing = [folder for folder in folders if not os.path.isdir(join(redirect_dir, folder))]  # noqa: PTH112
        if missing:
            raise DataError(f"redirect_dir {redirect_dir!r} lacks the folders {some(missing)}: {rule}")
    entries_of = list_folders([join(redirect_dir, folder) for folder in folders], rule)
    for folder, entries in zip(folders, entries_of, strict=True):
        if entries.special:
            path = join(redirect_dir, folder)
            raise DataError(f"{path!r} holds what is no regular file, {some_explained(entries.special)}: {rule}")
    return dict(zip(folders, entries_of, strict=True))


def _check_agreement(base_dir: str, labels_filename: str, order: list[str], folders: list[str]) -> None:
    ordered, held = set(order), set(folders)
    without_folder = [name for name in order if name not in held]
    unlisted = [name for name in folders if name not in ordered]
    differences = []
    if without_folder:
        differences.append(f"it names {some(without_folder)}, for which there is no folder")
    if unlisted:
        differences.append(f"it does not name the folders {some(unlisted)}")
    if differences:
        raise DataError(
            f"{join(base_dir, labels_filename)!r} disagrees with the class folders beside it: "
            f"{', and '.join(differences)}. It must name each folder of {base_dir!r} once, and nothing else."
        )
