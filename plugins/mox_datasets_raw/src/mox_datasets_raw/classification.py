"""Data sets of images with one class each: base_dir/<class>/<image>."""

from __future__ import annotations

import os

import tensorflow as tf
from attrs import define, field

from mox_core.datasets import checks
from mox_core.datasets.labels import FILENAME
from mox_core.sdk import captured_constant
from mox_datasets_raw.listing import ImageFiles, check_folders, list_classes, log_metadata, originals_of
from mox_datasets_raw.reading import RawImageDataset


class ImageClassificationRawMetadata:
    """The classes and images of a folder with a folder for each class.

    The indices of the classes are in labels.txt; without the file classes are sorted by name. Hidden files
    and folders are left out, and so are files beside the class folders.

    Example:
        meta = mox.ImageClassificationRawMetadata(base_dir="flowers/train")
        dataset = mox.ImageClassificationRawDataset(meta)

    Args:
        base_dir: the folder, or its URL on a store, as 's3://bucket/flowers'.
        redirect_dir: a folder with the same content (a local copy, say), or its URL: the images are listed in base_dir
            and read from here.
        labels_filename: the name of labels.txt in base_dir.

    Attributes:
        total_num_samples: the number of images.
        num_classes: the number of classes.
        labels_list: the names of the classes; a label is an index of this list.
        labels_to_names: the name of each label.
        names_to_labels: the label of each name.

    Raises:
        DataError: if the folder is not of this form, a class has no image, or labels.txt names other classes.
    """

    def __init__(
        self,
        base_dir: str | os.PathLike[str],
        redirect_dir: str | os.PathLike[str] | None = None,
        labels_filename: str = FILENAME,
    ) -> None:
        self.base_dir = os.fspath(base_dir)
        self.redirect_dir = None if redirect_dir is None else os.fspath(redirect_dir)
        classes = list_classes(self.base_dir, labels_filename)
        self.labels_list = list(classes)
        self.num_classes = len(classes)
        self.labels_to_names = dict(enumerate(classes))
        self.names_to_labels = {name: label for label, name in self.labels_to_names.items()}
        read_from = classes
        if self.redirect_dir is not None:
            read_from = check_folders(self.redirect_dir, self.labels_list, self.base_dir)
        self.files = ImageFiles(
            root=self.base_dir if self.redirect_dir is None else self.redirect_dir,
            folders=self.labels_list,
            folder_of=[label for label, each in enumerate(classes.values()) for _ in each.readable_or_broken],
            names=[name for each in classes.values() for name in each.readable_or_broken],
            originals=originals_of(read_from),
        )
        self.total_num_samples = len(self.files)
        log_metadata(self.base_dir, self.total_num_samples, self.labels_list)


@define(eq=False, slots=False)
class ImageClassificationRawDataset(RawImageDataset):
    """Images of one class each, read inside `input_fn`.

    `get` returns 'image' (uint8, [height, width, 3], RGB), 'label' (int64), 'label_desc' (the name of the class) and
    'image_name' (the name of the file).

    Example:
        def input_fn(mode):
            meta = mox.ImageClassificationRawMetadata(base_dir="flowers/train")
            dataset = mox.ImageClassificationRawDataset(meta)
            image, label = dataset.get(["image", "label"])
            image = mox.get_data_augmentation_fn("resnet_v1_50", mode, 224, 224)(image)
            return image, label

    The other arguments are those of RawImageDataset.

    Attributes:
        label_one_hot: whether 'label' is a vector (float32, [num_classes]) with 1 at the class.
    """

    metadata_class = ImageClassificationRawMetadata

    label_one_hot: bool = field(default=False, validator=checks.is_bool, kw_only=True)
    _names: tf.Tensor = field(init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._names = captured_constant([os.fsencode(name) for name in self.metadata.labels_list], tf.string)

    @property
    def _files(self) -> ImageFiles:
        files: ImageFiles = self.metadata.files
        return files

    def _labels(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        label = self._files.folder_tensor(index)
        label_desc = tf.gather(self._names, label)
        return (tf.one_hot(label, self.metadata.num_classes) if self.label_one_hot else label), label_desc
