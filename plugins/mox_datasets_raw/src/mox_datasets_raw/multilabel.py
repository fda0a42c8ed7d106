"""Data sets of images with several classes each: base_dir/images/<image> and base_dir/labels/<image>.txt."""

from __future__ import annotations

import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf
from attrs import define, evolve, field

from mox_core.datasets import checks
from mox_core.datasets.folders import join, list_folder, read_bytes, reason_of, warn_of_unread
from mox_core.datasets.image_folders import image_folders
from mox_core.datasets.labels import FILENAME
from mox_core.datasets.names import check_class_names
from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import DataError, UsageError
from mox_core.name_lists import some
from mox_core.quoting import shown
from mox_core.sdk import captured_constant, info_logging
from mox_core.stores.folder import is_remote
from mox_core.stores.transfers import Transfer, transfer
from mox_datasets_raw.labels import read_labels
from mox_datasets_raw.listing import READ, ImageFiles, check_folders, log_metadata, originals_of, warn_of_the_rest
from mox_datasets_raw.reading import RawImageDataset

_DEFAULT_SEPARATOR = "\n"
_READERS = 16  # label files are small: reading them is waiting


def split_labels(text: str, separator: str) -> list[str]:
    """Return the names in a label file."""
    return [name for part in text.split(separator) if (name := part.strip())]


class MultilabelClassificationRawMetadata:
    """The classes and the images of a folder with a label file for each image.

    The label file of images/0.jpg is labels/0.jpg.txt and holds the names of the classes of the image, one a line (see
    label_sep of the data set). The indices of the classes are in labels.txt; without the file the classes
    are those in the label files, sorted by name.

    Example:
        meta = mox.MultilabelClassificationRawMetadata(base_dir="street/train")
        dataset = mox.MultilabelClassificationRawDataset(meta)

    Args:
        base_dir: the folder, or its URL on a store, as 's3://bucket/street'.
        images_sub_dir: the folder in it that holds the images.
        labels_sub_dir: the folder in it that holds the label files.
        labels_extension: the extension of a label file, after the name of the image.
        redirect_dir: a folder with the same images (a local copy, say), or its URL: they are listed in base_dir and
            read from here.
        labels_filename: the name of labels.txt in base_dir.

    Attributes:
        total_num_samples: the number of images, including those without a label file.
        num_classes: the number of classes.
        labels_list: the names of the classes.
        labels_to_names: the name of each index.
        names_to_labels: the index of each name.
        has_labels_file: whether there is a labels.txt.

    Raises:
        DataError: if the folder is not of this form.
    """

    def __init__(
        self,
        base_dir: str | os.PathLike[str],
        images_sub_dir: str = "images",
        *,
        labels_sub_dir: str = "labels",
        labels_extension: str = "txt",
        redirect_dir: str | os.PathLike[str] | None = None,
        labels_filename: str = FILENAME,
    ) -> None:
        self.base_dir = os.fspath(base_dir)
        self.redirect_dir = None if redirect_dir is None else os.fspath(redirect_dir)
        expected = (
            f"Expected are the images in base_dir/{shown(images_sub_dir)} and a file with the names of its classes for "
            f"each of them, base_dir/{shown(labels_sub_dir)}/<image>.{shown(labels_extension.lstrip('.'))}."
        )
        list_folder(self.base_dir, expected)
        images_dir = join(self.base_dir, images_sub_dir)
        found = image_folders(self.base_dir, {images_sub_dir: list_folder(images_dir, expected)}, READ)
        entries = found.folders[images_sub_dir]
        images = entries.readable_or_broken
        if not images:
            raise DataError(f"{images_dir!r} holds no image. {expected}{found.of_no_format([images_sub_dir])}")
        warn_of_the_rest(found, expected)
        self._labels_dir = join(self.base_dir, labels_sub_dir)
        self._extension = "." + labels_extension.lstrip(".")
        label_files = list_folder(self._labels_dir, expected)
        self._label_files = frozenset(label_files.readable_or_broken)
        self._stored_labels = label_files.originals
        warn_of_unread(self._labels_dir, label_files)
        read_from = {images_sub_dir: entries}
        if self.redirect_dir is not None:
            read_from = check_folders(self.redirect_dir, [images_sub_dir], self.base_dir)
        self.files = ImageFiles(
            root=self.base_dir if self.redirect_dir is None else self.redirect_dir,
            folders=[images_sub_dir],
            folder_of=[0] * len(images),
            names=images,
            originals=originals_of(read_from),
        )
        order = read_labels(self.base_dir, labels_filename)
        self.has_labels_file = order is not None
        self.labels_list = self._found_names() if order is None else order
        self.num_classes = len(self.labels_list)
        self.labels_to_names = dict(enumerate(self.labels_list))
        self.names_to_labels = {name: label for label, name in self.labels_to_names.items()}
        self.total_num_samples = len(self.files)
        log_metadata(self.base_dir, self.total_num_samples, self.labels_list)

    def label_file(self, image: str) -> str:
        """Return the path of the label file of an image, which may not exist."""
        return join(self._labels_dir, image + self._extension)

    @functools.cached_property
    def label_texts(self) -> list[str | None]:
        """The content of the label file of each image; None for an image without one."""
        if is_remote(self._labels_dir):
            return self._fetched_texts()
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(self._label_text, self.files.names))

    def _fetched_texts(self) -> list[str | None]:
        texts: dict[str, str | None] = {}

        def fetch(image: str) -> None:
            texts[image] = self._label_text(image)

        files = []
        for name in self.files.names:
            stored = self._stored_labels.get(name + self._extension)
            files.append(Transfer(self.label_file(name), stored.size if stored else 0, functools.partial(fetch, name)))
        with info_logging():  # also outside of a run
            transfer(files, f"Fetching {self._labels_dir}", tries=1)
        return [texts[name] for name in self.files.names]

    def _label_text(self, image: str) -> str | None:
        if image + self._extension not in self._label_files:
            return None
        path = self.label_file(image)
        try:
            return read_bytes(path).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"label file {path!r} cannot be read: {reason_of(error)}. Expected are names of classes in UTF-8."
            ) from error

    def _found_names(self) -> list[str]:
        of_image: dict[str, str] = {}
        for image, text in zip(self.files.names, self.label_texts, strict=True):
            for name in split_labels(text or "", _DEFAULT_SEPARATOR):
                of_image.setdefault(name, image)
        for name, image in of_image.items():
            check_class_names([name], what="class", where=self.label_file(image))
        if not of_image:
            raise DataError(
                f"none of the {len(self.files)} images has a label file in {self._labels_dir!r} that names a class; "
                f"expected is {self.label_file(self.files.names[0])!r} for the first one."
            )
        return sorted(of_image)


@define(eq=False, slots=False)
class MultilabelClassificationRawDataset(RawImageDataset):
    """Images with several classes each, read inside `input_fn`.

    `get` returns 'image' (uint8, [height, width, 3], RGB), 'label' (float32, [num_classes]: 1 at each class of the
    image, 0 elsewhere), 'label_desc' (the names of the classes with label_sep between them) and 'image_name'
    (the name of the file). The label files are read when the object is made.

    The other arguments are those of RawImageDataset.

    Attributes:
        label_sep: the separator of the names in a label file.
        skip_label_not_found: whether images without a label file are left out instead of an error.

    Raises:
        DataError: if an image has no label file, or one that names an unknown class.
    """

    metadata_class = MultilabelClassificationRawMetadata
    exclusive_classes = False

    label_sep: str = field(default=_DEFAULT_SEPARATOR, kw_only=True)
    skip_label_not_found: bool = field(default=False, validator=checks.is_bool, kw_only=True)
    _kept_files: ImageFiles = field(init=False)
    _names: tf.Tensor = field(init=False)
    _flat_labels: tf.Tensor = field(init=False)
    _label_starts: tf.Tensor = field(init=False)

    @label_sep.validator
    def _check_label_sep(self, _attribute: object, value: object) -> None:
        if not isinstance(value, str) or not value:
            raise checks.refuse(self, "label_sep", value, "a string that is not empty")

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.label_sep != _DEFAULT_SEPARATOR and not self.metadata.has_labels_file:
            raise UsageError(
                f"label_sep is {self.label_sep!r} and {self.metadata.base_dir!r} has no labels.txt: the classes were "
                r"found by reading the label files line by line. Write a labels.txt, or separate the names by '\n'."
            )
        kept, labels = self._read_labels()
        files: ImageFiles = self.metadata.files
        names = [files.names[index] for index in kept]
        self._kept_files = evolve(files, folder_of=[0] * len(names), names=names)
        self._names = captured_constant([os.fsencode(name) for name in self.metadata.labels_list], tf.string)
        self._flat_labels = captured_constant(list(itertools.chain.from_iterable(labels)), tf.int64)
        self._label_starts = captured_constant(list(itertools.accumulate(map(len, labels), initial=0)), tf.int64)

    def _read_labels(self) -> tuple[list[int], list[list[int]]]:
        """Return the indices of the images with labels, and the labels of each."""
        texts: list[str | None] = self.metadata.label_texts
        kept = [index for index, text in enumerate(texts) if text is not None]
        if len(kept) < len(texts):
            missing = [name for name, text in zip(self.metadata.files.names, texts, strict=True) if text is None]
            if not kept or not self.skip_label_not_found:
                raise DataError(
                    f"{len(missing)} of {len(texts)} images have no label file: {some(missing)}; expected is "
                    f"{self.metadata.label_file(missing[0])!r} for the first one. skip_label_not_found=True leaves "
                    "such images out, where others have one."
                )
            tf.get_logger().info("%d images without a label file are left out.", len(missing))
        return kept, [self._to_labels(index, texts[index] or "") for index in kept]

    def _to_labels(self, index: int, text: str) -> list[int]:
        known: dict[str, int] = self.metadata.names_to_labels
        names = split_labels(text, self.label_sep)
        for name in names:
            if name not in known:
                path = self.metadata.label_file(self.metadata.files.names[index])
                sentences = [
                    f"label file {path!r} names class {name!r}, which is not in labels.txt.",
                    did_you_mean(nearest(name, known)),
                    f"Known are {some(list(known), 10)}; between names stands label_sep, {self.label_sep!r}.",
                ]
                raise DataError(" ".join(filter(None, sentences)))
        return sorted({known[name] for name in names})

    @property
    def _files(self) -> ImageFiles:
        return self._kept_files

    def _labels(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        start, end = tf.gather(self._label_starts, index), tf.gather(self._label_starts, index + 1)
        labels = self._flat_labels[start:end]
        many_hot = tf.tensor_scatter_nd_update(
            tf.zeros([self.metadata.num_classes]), labels[:, tf.newaxis], tf.ones([end - start])
        )
        label_desc = tf.strings.reduce_join(tf.gather(self._names, labels), separator=self.label_sep)
        return many_hot, label_desc
