"""The base of data sets of image files: from an index to the features of one image."""

from __future__ import annotations

import abc
import functools
import os
from typing import TYPE_CHECKING, Any, ClassVar

import tensorflow as tf
from attrs import define, field

from mox_core.datasets import checks
from mox_core.datasets.file_cache import FileCache, cache_folder, default_cache_folder
from mox_core.datasets.folders import unreadable
from mox_core.datasets.image_options import check_image_options
from mox_core.datasets.requested_keys import check_known, check_names
from mox_core.errors import UsageError
from mox_core.sdk import (
    ENCODED,
    READABLE,
    Features,
    SampleSource,
    apply_augmentation,
    apply_preprocessing,
    decode_image,
    info_logging,
    make_image,
    read_once,
    resize_image,
)
from mox_core.stores.folder import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mox_datasets_raw.listing import ImageFiles

_KEYS = ("image", "label", "label_desc", "image_name")


class AsyncRawGenerator:
    """The class for `reader_class=` by which MoXing read files in several processes: here it changes nothing.

    tf.data reads and decodes files in parallel, whether it is given or not, and the order of samples is mox's.

    Example:
        dataset = mox.ImageClassificationRawDataset(meta, reader_class=mox.AsyncRawGenerator)
    """


@define(eq=False, slots=False)
class RawImageDataset(abc.ABC):
    """Images in files, read inside `input_fn` with `get`.

    Attributes:
        metadata: the classes and images of the folder.
        batch_size: images in a batch; None for single images. It needs images of one size: of themselves, or by
            image_size, augmentation_fn or preprocess_fn.
        num_readers: no effect; tf.data decides.
        num_epochs: number of epochs; None for no end.
        shuffle: whether each epoch has an order of its own.
        shuffle_buffer_size: no effect; the whole data set is shuffled, without a buffer.
        capacity: no effect; tf.data decides.
        cache_dir: a folder for local copies of the files, made when each is first read; 'ENV' stands for the folder in
            the environment variable DLS_LOCAL_CACHE_PATH. Of files on a store there are always copies: without
            cache_dir in that folder, or in a folder of this user in the system's temporary folder.
        preprocess_fn: function (image_name, image_buf, label, label_desc) that returns four tensors to replace them.
            image_buf is the content of the file, not decoded. With a batch_size all four have a batch dimension.
        preprocess_threads: no effect; tf.data decides.
        image_size: (height, width), or the side of a square, to which images are resized (nearest neighbour, as in the
            original).
        remove_cache_on_finish: whether the copies are removed when the last process ends that uses them.
        private_num_threads: no effect; tf.data decides.
        reader_class: None or `mox.AsyncRawGenerator`; no effect, as reading is parallel in either case.
        reader_kwargs: no effect.
        drop_remainder: whether a last batch of fewer images is left out.
        augmentation_fn: function from image to image, applied before batching.
        on_bad_image: 'skip' leaves out a file that cannot be decoded, with a warning that names it; 'raise' ends the
            run with an error that names it.
        dct_scaling: whether a JPEG of which `input_fn` shrinks a crop to half or less is decoded at 1/2, 1/4 or 1/8 of
            its size: faster, and other pixels.
    """

    metadata_class: ClassVar[type]
    exclusive_classes: ClassVar[bool] = True

    metadata: Any = field()
    batch_size: int | None = field(default=None, validator=checks.at_least(1, or_none=True))
    num_readers: int = field(default=8, validator=checks.at_least(1), kw_only=True)
    num_epochs: int | None = field(default=None, validator=checks.at_least(1, or_none=True), kw_only=True)
    shuffle: bool = field(default=True, validator=checks.is_bool, kw_only=True)
    shuffle_buffer_size: int = field(default=16, validator=checks.at_least(1), kw_only=True)
    capacity: int = field(default=256, validator=checks.at_least(1), kw_only=True)
    cache_dir: str | os.PathLike[str] | None = field(default=None, kw_only=True)
    preprocess_fn: Callable[..., Any] | None = field(default=None, validator=checks.is_function, kw_only=True)
    preprocess_threads: int = field(default=12, validator=checks.at_least(1), kw_only=True)
    image_size: int | tuple[int, int] | None = field(default=None, validator=checks.is_size, kw_only=True)
    remove_cache_on_finish: bool = field(default=True, validator=checks.is_bool, kw_only=True)
    private_num_threads: int = field(default=0, validator=checks.at_least(0), kw_only=True)
    reader_class: Any = field(default=None, kw_only=True)
    reader_kwargs: Mapping[str, Any] | None = field(default=None, kw_only=True)
    drop_remainder: bool = field(default=False, validator=checks.is_bool, kw_only=True)
    augmentation_fn: Callable[[tf.Tensor], Any] | None = field(default=None, validator=checks.is_function, kw_only=True)
    on_bad_image: str = field(default="skip", validator=checks.one_of("skip", "raise"), kw_only=True)
    dct_scaling: bool = field(default=False, validator=checks.is_bool, kw_only=True)
    _cache: FileCache | None = field(init=False, default=None)

    @metadata.validator
    def _check_metadata(self, _attribute: object, value: object) -> None:
        if not isinstance(value, self.metadata_class):
            raise checks.refuse(self, "metadata", value, f"{self.metadata_class.__name__}(base_dir=...)")

    @reader_class.validator
    def _check_reader_class(self, _attribute: object, value: object) -> None:
        if value is None:
            return
        if value is not AsyncRawGenerator:
            raise UsageError(
                f"reader_class of {type(self).__name__} is {value!r}; it must be None or mox.AsyncRawGenerator: no "
                "document of MoXing says what it calls of a class, and its own one is the only one known. To read "
                "files in a way of your own, give preprocess_fn, which gets their bytes, or return a tf.data.Dataset "
                "from input_fn."
            )
        tf.get_logger().info("reader_class has no effect: files are read and decoded in parallel in any case.")

    def __attrs_post_init__(self) -> None:
        check_image_options(self)
        files: ImageFiles = self.metadata.files
        if self.cache_dir is not None or is_remote(files.root):
            folder = default_cache_folder() if self.cache_dir is None else cache_folder(os.fspath(self.cache_dir))
            self._cache = FileCache(
                folder, files.root, remove_on_finish=self.remove_cache_on_finish, files=files.originals
            )
            if is_remote(files.root):
                with info_logging():  # also outside of a run
                    tf.get_logger().info("Copies of %s are in %s", files.root, self._cache.folder)

    def get(self, keys: list[str] | tuple[str, ...]) -> list[tf.Tensor]:
        """Return features of an image (of a batch, with batch_size) in the order of `keys`, inside `input_fn`.

        All calls in one `input_fn` return features of the same image.

        Args:
            keys: names of features: 'image', 'label', 'label_desc', 'image_name'.

        Raises:
            UsageError: if a name is unknown, or outside `input_fn`.
        """
        check_names(keys, owner=type(self).__name__)
        check_known(keys, _KEYS, owner=type(self).__name__)
        features = read_once(self, self._read)
        return [features[key] for key in keys]

    def _read(self) -> Features:
        features = self.source().read()
        return apply_preprocessing(features, self.preprocess_fn) if self.preprocess_fn else features

    def source(self) -> SampleSource:
        """Return the source of features by index, with 'image_buf' in place of 'image' if preprocess_fn is given."""
        return SampleSource(
            num_samples=len(self._files),
            fetch=self._fetch,
            describe=self._files.path,
            system_error=self._system_error,
            read_ahead=self._read_ahead if is_remote(self._files.root) else None,
            on_bad_sample=self.on_bad_image,
            shuffle=self.shuffle,
            num_epochs=self.num_epochs,
            transform=(
                functools.partial(apply_augmentation, augmentation_fn=self.augmentation_fn, batch_size=self.batch_size)
                if self.augmentation_fn
                else None
            ),
            batch_size=self.batch_size,
            drop_remainder=self.drop_remainder,
            encoded=self._is_decoded_by_mox,
            dct_scaling=self.dct_scaling,
            class_names=tuple(self.metadata.labels_list),
            exclusive_classes=self.exclusive_classes,
            make_image=(
                None
                if self.preprocess_fn
                else functools.partial(make_image, image_size=self.image_size, augmentation_fn=self.augmentation_fn)
            ),
        )

    @property
    def _is_decoded_by_mox(self) -> bool:
        return self.preprocess_fn is None and self.image_size is None

    def _system_error(self, index: int) -> str:
        path = self._files.path(index)
        return self._cache.why_unreadable(path) if self._cache else unreadable(path)

    def _read_ahead(self, indices: Sequence[int]) -> None:
        assert self._cache is not None  # noqa: S101  (for type checkers: there is one for what is on a store)
        self._cache.read_ahead([self._files.path(index) for index in indices])

    @property
    @abc.abstractmethod
    def _files(self) -> ImageFiles:
        """The files of the images."""

    @abc.abstractmethod
    def _labels(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return label and label_desc of the image with an index."""

    def _fetch(self, index: tf.Tensor) -> Features:
        path = self._files.path_tensor(index)
        content = self._cache.read_tensor(path) if self._cache else tf.io.read_file(path)
        label, label_desc = self._labels(index)
        features = {"label": label, "label_desc": label_desc, "image_name": self._files.name_tensor(index)}
        if self._is_decoded_by_mox:
            return features | {ENCODED: content}
        image, features[READABLE] = decode_image(content)
        if self.preprocess_fn:
            # Decoded as a check only: a bad file is found here, where it can be left out.
            with tf.control_dependencies([image]):
                return features | {"image_buf": tf.identity(content)}
        return features | {"image": resize_image(image, self.image_size)}
