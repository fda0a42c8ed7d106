"""Data sets of images in records, with the features of slim's data sets, which this plugin also writes."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field

from mox_core.datasets import checks
from mox_core.datasets.folders import join
from mox_core.datasets.image_options import check_image_options
from mox_core.datasets.labels import FILENAME, has_labels, read_labels
from mox_core.errors import DataError, UsageError
from mox_core.sdk import (
    ENCODED,
    READABLE,
    apply_augmentation,
    apply_preprocessing,
    captured_constant,
    decode_image,
    make_image,
    resize_image,
)
from mox_tfrecord.caching import copy_files
from mox_tfrecord.datasets import WHY_BAD, BaseTFRecordDataset, BaseTFRecordMetadata
from mox_tfrecord.handled import apply_handlers, check_handlers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.sdk import Features

_SPEC = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    "image/class/text": tf.io.FixedLenFeature([], tf.string, default_value=""),
    "image/filename": tf.io.FixedLenFeature([], tf.string, default_value=""),
}

_OWN = ("image", "image_buf", "image_name", "label", "label_desc")
"""What the data set makes of them."""

_OF_LABELLED_IMAGES = (
    "augmentation_fn",
    "custom_feature_keys",
    "custom_feature_values",
    "dct_scaling",
    "image_size",
    "label_one_hot",
    "preprocess_fn",
)
"""The arguments that change the image and the label which the data set itself makes of a record."""


class ImageClassificationTFRecordMetadata(BaseTFRecordMetadata):
    """The files of a data set of images in records, and the names of its classes.

    Example:
        meta = mox.ImageClassificationTFRecordMetadata("flowers", "train-*.tfrecord")

    Args:
        base_dir: the folder of the files, or its URL; see `BaseTFRecordMetadata`.
        file_pattern: which files in it; or a list of patterns.
        num_samples: number of records, if known.
        redirect_dir: see `BaseTFRecordMetadata`.
        num_classes: number of classes; 0 for as many as label_map_file has.
        label_map_file: the name of a file in base_dir with the class of each index, one `0: daisy` a line. A file of
            the default name may be missing.
        compression_type: see `BaseTFRecordMetadata`.

    Attributes:
        labels_to_names: the name of each label; empty without the file.
        num_classes: the number of classes; 0 if not known.

    Raises:
        DataError: if no file matches, or the file of labels is not of the expected form.
    """

    def __init__(
        self,
        base_dir: str | os.PathLike[str],
        file_pattern: str | Sequence[str],
        num_samples: int | None = None,
        redirect_dir: str | os.PathLike[str] | None = None,
        num_classes: int = 0,
        label_map_file: str = FILENAME,
        *,
        compression_type: str | None = None,
    ) -> None:
        super().__init__(base_dir, file_pattern, num_samples, redirect_dir, compression_type=compression_type)
        path = join(self.base_dir, label_map_file)
        names: list[str] = []
        if has_labels(path):
            names = read_labels(path, distinct=False)
        elif label_map_file != FILENAME:
            raise DataError(f"there is no file {path!r}. Leave label_map_file away to do without it.")
        if names and num_classes not in {0, len(names)}:
            raise DataError(f"num_classes is {num_classes}, and {path!r} names {len(names)} classes.")
        self.labels_to_names = dict(enumerate(names))
        self.num_classes = num_classes or len(names)


@define(eq=False, slots=False)
class ImageClassificationTFRecordDataset(BaseTFRecordDataset):
    """Images of one class each in records, read inside `input_fn`.

    `get` returns 'image' (uint8, [height, width, 3], RGB), 'label' (int64), 'label_desc' (the name of the class) and
    'image_name' (the name of the image's file).

    Before TensorFlow 1.13 MoXing had another form, which is taken too: (metadata, keys_to_features, items_to_handlers),
    as `mox.get_tfrecord` has them. `get` then returns the items of the handlers, and no others.

    Example:
        def input_fn(mode):
            meta = mox.ImageClassificationTFRecordMetadata("flowers", "train-*.tfrecord")
            dataset = mox.ImageClassificationTFRecordDataset(meta, shuffle=mode == mox.ModeKeys.TRAIN)
            image, label = dataset.get(["image", "label"])
            image = mox.get_data_augmentation_fn("resnet_v1_50", mode, 224, 224)(image)
            return image, label

    Attributes:
        metadata: an ImageClassificationTFRecordMetadata.
        batch_size: images in a batch; None for single images. It needs images of one size: of themselves, or by
            image_size, augmentation_fn or preprocess_fn. In the older form, keys_to_features is given in this place.
        items_to_handlers: in the older form, the handler of each item.
        keys_to_features: in the older form, name to `tf.io.FixedLenFeature` and the like.
        shuffle: whether each epoch has an order of its own.
        shuffle_buffer_size: for compressed files only; other data sets are shuffled as a whole, without a buffer.
        num_parallel: no effect; tf.data decides.
        num_epochs: number of epochs; None for no end.
        cache_dir: a folder for local copies of the files, made before the first is read; 'ENV' stands for the folder
            in the environment variable DLS_LOCAL_CACHE_PATH. Of files on a store there are always copies: without
            cache_dir in that folder, or in a folder of this user in the system's temporary folder.
        preprocess_fn: function (image_name, image_buf, label, label_desc) that returns four tensors to replace them.
            image_buf is the content of the file, not decoded. With a batch_size all four have a batch dimension.
        image_size: (height, width), or the side of a square, to which images are resized (nearest neighbour, as in the
            original).
        remove_cache_on_finish: whether the copies are removed when the last process ends that uses them.
        private_num_threads: no effect; tf.data decides.
        custom_feature_keys: names of more features of the records, for `get`.
        custom_feature_values: `tf.io.FixedLenFeature` and the like for each.
        drop_remainder: whether a last batch of fewer images is left out.
        augmentation_fn: function from image to image, applied before batching.
        label_one_hot: whether 'label' is a vector (float32, [num_classes]) with 1 at the class.
        dct_scaling: whether a JPEG of which `input_fn` shrinks a crop to half or less is decoded at 1/2, 1/4 or 1/8 of
            its size: faster, and other pixels.
        on_bad_record: see `BaseTFRecordDataset`; an image that cannot be decoded is a bad record too.
    """

    feature_keys: Sequence[str] = field(init=False, factory=lambda: list(_SPEC))
    feature_values: Sequence[Any] = field(init=False, factory=lambda: list(_SPEC.values()))
    batch_size: Any = field(default=None)
    items_to_handlers: Mapping[str, Any] | None = field(default=None)
    keys_to_features: Mapping[str, Any] | None = field(default=None, kw_only=True)
    shuffle: bool = field(default=True, validator=checks.is_bool, kw_only=True)
    cache_dir: str | os.PathLike[str] | None = field(default=None, kw_only=True)
    preprocess_fn: Callable[..., Any] | None = field(default=None, validator=checks.is_function, kw_only=True)
    image_size: int | tuple[int, int] | None = field(default=None, validator=checks.is_size, kw_only=True)
    remove_cache_on_finish: bool = field(default=True, validator=checks.is_bool, kw_only=True)
    private_num_threads: int = field(default=0, validator=checks.at_least(0), kw_only=True)
    custom_feature_keys: Sequence[str] | None = field(default=None, kw_only=True)
    custom_feature_values: Sequence[Any] | None = field(default=None, kw_only=True)
    drop_remainder: bool = field(default=False, validator=checks.is_bool, kw_only=True)
    augmentation_fn: Callable[[tf.Tensor], Any] | None = field(default=None, validator=checks.is_function, kw_only=True)
    label_one_hot: bool = field(default=False, validator=checks.is_bool, kw_only=True)
    dct_scaling: bool = field(default=False, validator=checks.is_bool, kw_only=True)
    _names: tf.Tensor = field(init=False)

    @batch_size.validator
    def _check_batch_size(self, attribute: Any, value: object) -> None:
        if not isinstance(value, Mapping):
            checks.at_least(1, or_none=True)(self, attribute, value)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.metadata, ImageClassificationTFRecordMetadata):
            raise checks.refuse(self, "metadata", self.metadata, "ImageClassificationTFRecordMetadata(base_dir=...)")
        if isinstance(self.batch_size, Mapping):
            if self.keys_to_features is not None:
                raise checks.refuse(self, "batch_size", self.batch_size, "None or a whole number from 1")
            self.keys_to_features, self.batch_size = self.batch_size, None
        if self.keys_to_features is not None or self.items_to_handlers is not None:
            self._take_handlers()
            return
        check_image_options(self)
        if self.label_one_hot and not self.metadata.num_classes:
            raise UsageError(
                f"{type(self).__name__} has label_one_hot=True: give num_classes, or a label_map_file, to the metadata."
            )
        if own := [key for key in self.custom_feature_keys or () if key in _OWN]:
            raise UsageError(
                f"custom_feature_keys of {type(self).__name__} has {own[0]!r}, which it makes of a record itself. "
                "Read the feature of that name by get_tfrecord, with keys_to_features and items_to_handlers."
            )
        self.feature_keys = [*_SPEC, *(self.custom_feature_keys or ())]
        self.feature_values = [*_SPEC.values(), *(self.custom_feature_values or ())]
        super().__attrs_post_init__()
        stored = self.metadata.stored
        if stored is not None:
            cache_dir = None if self.cache_dir is None else os.fspath(self.cache_dir)
            stored.keep_copies(cache_dir, remove_on_finish=self.remove_cache_on_finish)
        names = self.metadata.labels_to_names.values()
        self._names = captured_constant([os.fsencode(each) for each in names], tf.string)

    def _take_handlers(self) -> None:
        """Read what keys_to_features and items_to_handlers say, in place of labelled images."""
        keys, handlers, name = self.keys_to_features, self.items_to_handlers, type(self).__name__
        if not isinstance(keys, Mapping) or not isinstance(handlers, Mapping):
            raise UsageError(
                f"{name} has keys_to_features={keys!r} and items_to_handlers={handlers!r}; both must be dicts: from "
                "names to tf.io.FixedLenFeature and the like, and from names to handlers of mox.tfexample_decoder. "
                "All other arguments are given by their names."
            )
        if given := [option for option in _OF_LABELLED_IMAGES if getattr(self, option)]:
            raise UsageError(
                f"{name} has items_to_handlers and {given[0]}, which belongs to its own image and label: do it in "
                "input_fn with what get returns, or leave keys_to_features and items_to_handlers away."
            )
        check_handlers(handlers, keys)
        self.feature_keys, self.feature_values = list(keys), list(keys.values())
        super().__attrs_post_init__()

    def _build_features(self, *tensors: Any) -> None:
        if self.items_to_handlers is not None:
            parsed = dict(zip(self.feature_keys, tensors, strict=True))
            for item, tensor in apply_handlers(self.items_to_handlers, parsed):
                self._add_feature(item, tensor)
            return
        file, label, label_desc, image_name, *custom = tensors
        if self.metadata.labels_to_names:
            label_desc = tf.gather(self._names, label)
        if self.label_one_hot:
            number = self.metadata.num_classes
            with tf.control_dependencies([tf.debugging.assert_less(label, tf.constant(number, tf.int64))]):
                label = tf.one_hot(label, number)
        for name, tensor in zip(("label", "label_desc", "image_name"), (label, label_desc, image_name), strict=True):
            self._add_feature(name, tensor)
        if self._is_decoded_by_mox:
            self._add_feature(ENCODED, file)
        else:
            image, is_readable = decode_image(file)
            self._add_feature(READABLE, is_readable)
            if self.preprocess_fn:
                # Decoded as a check only: a bad image is found here, where it can be left out.
                with tf.control_dependencies([image]):
                    self._add_feature("image_buf", tf.identity(file))
            else:
                self._add_feature("image", resize_image(image, self.image_size))
        for name, tensor in zip(self.feature_keys[len(_SPEC) :], custom, strict=True):
            self._add_feature(name, tensor)

    def _source_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"batch_size": self.batch_size, "drop_remainder": self.drop_remainder}
        if self.augmentation_fn:
            options["transform"] = functools.partial(
                apply_augmentation, augmentation_fn=self.augmentation_fn, batch_size=self.batch_size
            )
        options |= {"encoded": self._is_decoded_by_mox, "dct_scaling": self.dct_scaling}
        if self.items_to_handlers is None:  # else nothing is known of what the handlers make
            options["class_names"] = names = tuple(self.metadata.labels_to_names.values())
            if names:
                options["why_bad"] = f"{WHY_BAD}, or its label is none of the {len(names)} that have a name, from 0 on"
        if self.items_to_handlers is None and not self.preprocess_fn:
            options["make_image"] = functools.partial(
                make_image, image_size=self.image_size, augmentation_fn=self.augmentation_fn
            )
        return options

    @property
    def _is_decoded_by_mox(self) -> bool:
        return self.items_to_handlers is None and self.preprocess_fn is None and self.image_size is None

    def _finished(self, features: Features) -> Features:
        return apply_preprocessing(features, self.preprocess_fn) if self.preprocess_fn else features

    @functools.cached_property
    def _copies(self) -> list[str]:
        return copy_files(
            self.metadata.files, os.fspath(self.cache_dir or ""), remove_on_finish=self.remove_cache_on_finish
        )

    def _paths(self) -> list[str]:
        is_as_it_is = self.cache_dir is None or self.metadata.stored is not None
        return super()._paths() if is_as_it_is else self._copies
