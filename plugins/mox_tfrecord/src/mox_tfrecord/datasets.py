"""The bases of data sets of records: files, features of the records, and what `get` returns."""

from __future__ import annotations

import functools
import os
import threading
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field

from mox_core.datasets import checks
from mox_core.datasets.requested_keys import check_known, check_names
from mox_core.errors import DataError, UsageError
from mox_core.name_lists import some
from mox_core.sdk import SampleSource, info_logging, read_once
from mox_core.whole_numbers import is_whole_number
from mox_tfrecord import examples
from mox_tfrecord.caching import stored_files
from mox_tfrecord.finding import list_files, redirected
from mox_tfrecord.index import RecordIndex, make_index, remember
from mox_tfrecord.sources import Records, StreamSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mox_core.sdk import Features
    from mox_tfrecord.caching import StoredFiles

WHY_BAD = "damaged, or its content is not what features and handlers say"


def _as_list(values: Iterable[Any]) -> list[Any]:
    return list(values)


class BaseTFRecordMetadata:
    """The files of a data set of records, and their number of records.

    Records are counted by their headers, without reading their content, when the number is first asked for or the
    records are first read.

    Example:
        meta = mox.BaseTFRecordMetadata("flowers", "train-*.tfrecord")

    Args:
        base_dir: the folder of the files, or its URL on a store, as 's3://bucket/flowers': then they are copied to this
            machine before the records are counted or read.
        file_pattern: which files in it, as 'train-*.tfrecord'; a list of such patterns for files of several kinds.
        num_samples: number of records, if known: then they are not counted before training.
        redirect_dir: a folder with the same files (a local copy, say), or its URL: they are listed in base_dir and read
            from here.
        compression_type: "", "GZIP" or "ZLIB"; None to detect it for each file.

    Attributes:
        files: the paths of the files, or their URLs, sorted.

    Raises:
        DataError: if no file matches, one that does cannot be read, or files of a set are missing whose names say how
            many there are (train-00000-of-00008.tfrecord). A file that file_pattern names itself is read alone.
    """

    def __init__(
        self,
        base_dir: str | os.PathLike[str],
        file_pattern: str | Sequence[str],
        num_samples: int | None = None,
        redirect_dir: str | os.PathLike[str] | None = None,
        *,
        compression_type: str | None = None,
    ) -> None:
        if num_samples is not None and not is_whole_number(num_samples, least=1):
            raise checks.refuse(self, "num_samples", num_samples, "None or a whole number from 1")
        if compression_type not in {None, "", "GZIP", "ZLIB"}:
            raise checks.refuse(self, "compression_type", compression_type, "None, '', 'GZIP' or 'ZLIB'")
        self.base_dir = os.fspath(base_dir)
        self.redirect_dir = None if redirect_dir is None else os.fspath(redirect_dir)
        found = list_files(self.base_dir, file_pattern)
        if self.redirect_dir is not None:
            found = redirected(found, self.base_dir, self.redirect_dir)
        self.files = list(found)
        root = self.base_dir if self.redirect_dir is None else self.redirect_dir
        self._stored = stored_files(root, found)
        self._given = None if num_samples is None else int(num_samples)
        self._compression_type = compression_type

    @property
    def num_samples(self) -> int:
        """The number of records, as given or counted."""
        return len(self.index) if self._given is None else self._given

    def local_files(self) -> list[str]:
        """Return the paths of the files on this machine, in their order; those on a store are fetched, once.

        Raises:
            DataError: if one cannot be fetched.
        """
        if self._stored is None:
            return self.files
        copies = self._stored.copies()
        return [copies[file] for file in self.files]

    @property
    def stored(self) -> StoredFiles | None:
        """The files, where they are on a store."""
        return self._stored

    @functools.cached_property
    def index(self) -> RecordIndex:
        """The position of each record."""
        logger = tf.get_logger()
        with info_logging():  # also outside of a run
            if self._given is None:
                logger.info("Find tfrecord files. Using tfrecord files in this job.")
                logger.info(
                    "Automatically extracting num_samples from tfrecord. Only the headers of records are read; "
                    "num_samples=... puts it off until the records are read."
                )
            index = make_index(self.files, self._compression_type, self._stored)
            for loss in index.losses():
                logger.warning("%s.", loss)
            if not len(index):
                reason = next((f". {loss}." for loss in index.losses()), "")
                more = " ..." * (len(self.files) > 1)
                raise DataError(f"the files hold no record that can be read: {self.files[0]!r}{more}{reason}")
            if empty := index.empty_files():
                logger.warning("%s hold%s no record.", some(empty), "s" * (len(empty) == 1))
            if self._given is None:
                logger.info("Total number of samples is %d", len(index))
            elif self._given != len(index):
                logger.warning(
                    "num_samples is %d, and the files hold %d records: all of these are read.", self._given, len(index)
                )
        return index


@define(eq=False, slots=False)
class BaseTFRecordDataset:
    """Records, read inside `input_fn` with `get`. A subclass defines what is made of a record.

    It defines `_build_features`, which gets the features of a record. MoXing's older form is taken too: `_parser`,
    from the record itself to tensors, which `_build_feature` gets.

    Example:
        class Digits(mox.BaseTFRecordDataset):
            def _build_features(self, pixels, label):
                self._add_feature("image", tf.reshape(tf.io.decode_raw(pixels, tf.uint8), [28, 28, 1]))
                self._add_feature("label", label)

        digits = Digits(
            meta,
            feature_keys=["pixels", "label"],
            feature_values=[tf.io.FixedLenFeature([], tf.string), tf.io.FixedLenFeature([], tf.int64)],
        )
        image, label = digits.get(["image", "label"])

    Attributes:
        metadata: the files and their records.
        feature_keys: the names of the features that are read of each record; not needed with a `_parser`.
        feature_values: `tf.io.FixedLenFeature` and the like for each.
        shuffle: whether each epoch has an order of its own.
        num_parallel: no effect; tf.data decides.
        num_readers: no effect, as num_parallel, which it was called before.
        num_epochs: number of epochs; None for no end.
        shuffle_buffer_size: size of the shuffle buffer for compressed files, in records; uncompressed files are
            shuffled as a whole, without a buffer.
        on_bad_record: 'raise' ends the run with the position of a record that cannot be read; 'skip' leaves it out with
            a warning, and also the rest of its file if its length is damaged or it is cut off.
    """

    metadata: Any = field()
    feature_keys: Sequence[str] = field(factory=list, converter=_as_list)
    feature_values: Sequence[Any] = field(factory=list, converter=_as_list)
    shuffle: bool = field(default=True, validator=checks.is_bool, kw_only=True)
    num_parallel: int = field(default=8, validator=checks.at_least(1), kw_only=True)
    num_readers: int = field(default=8, validator=checks.at_least(1), kw_only=True)
    num_epochs: int | None = field(default=None, validator=checks.at_least(1, or_none=True), kw_only=True)
    shuffle_buffer_size: int = field(default=6400, validator=checks.at_least(1), kw_only=True)
    on_bad_record: str = field(default="raise", validator=checks.one_of("raise", "skip"), kw_only=True)
    _spec: dict[str, Any] = field(init=False)
    _found: Features = field(init=False, factory=dict)
    _lock: Any = field(init=False, factory=threading.RLock)

    @metadata.validator
    def _check_metadata(self, _attribute: object, value: object) -> None:
        if not isinstance(value, BaseTFRecordMetadata):
            raise checks.refuse(self, "metadata", value, "a BaseTFRecordMetadata(base_dir=..., file_pattern=...)")

    def __attrs_post_init__(self) -> None:
        if len(self.feature_keys) != len(self.feature_values):
            raise UsageError(
                f"{type(self).__name__} has {len(self.feature_keys)} feature_keys and {len(self.feature_values)} "
                "feature_values; each key has one value."
            )
        self._spec = examples.spec_outside_graphs(dict(zip(self.feature_keys, self.feature_values, strict=True)))
        examples.warn_of_padding(self._spec)
        if not self._overrides("_build_features") and not self._overrides("_build_feature"):
            raise UsageError(
                f"{type(self).__name__} does not say what is made of a record: derive a class from it, with a method "
                "_build_features(self, *tensors) that calls self._add_feature(name, tensor)."
            )

    def _parser(self, record: tf.Tensor) -> Any:
        """Return the tensors of a record, which `_build_features` gets: those of feature_keys, in their order.

        Args:
            record: the content of a record, a scalar string.
        """
        parsed = tf.io.parse_single_example(record, self._spec)
        return tuple(parsed[key] for key in self.feature_keys)

    def _build_features(self, *tensors: Any) -> None:
        """Call `_add_feature` for each feature of `get`.

        Args:
            *tensors: what `_parser` returned: the features of a record in the order of feature_keys.
        """
        self._build_feature(*tensors)

    def _build_feature(self, *tensors: Any) -> None:
        """Do what `_build_features` does, under its older name."""
        raise NotImplementedError(f"{type(self).__name__} lacks the method `_build_features`")

    def _overrides(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(BaseTFRecordDataset, method)

    def _add_feature(self, name: str, tensor: Any) -> None:
        """Add a tensor, which `get` returns by its name.

        Raises:
            UsageError: if it is sparse or ragged.
        """
        if isinstance(tensor, (tf.SparseTensor, tf.RaggedTensor)):
            raise UsageError(
                f"feature {name!r} of {type(self).__name__} is a {type(tensor).__name__}; it must be a dense tensor. "
                "tf.sparse.to_dense makes one, and so does the handler Tensor."
            )
        self._found[name] = tf.convert_to_tensor(tensor)

    def get(self, keys: Sequence[str]) -> list[tf.Tensor]:
        """Return features of a record in the order of `keys`, inside `input_fn`.

        All calls in one `input_fn` return features of the same record.

        Args:
            keys: names of features.

        Raises:
            UsageError: if a name is unknown, or outside `input_fn`.
            DataError: if the files are damaged, or their records have other features.
        """
        check_names(keys, owner=type(self).__name__)
        features = read_once(self, lambda: self._finished(self.source().read()))
        check_known(keys, features, owner=type(self).__name__)
        return [features[key] for key in keys]

    def source(self) -> SampleSource:
        """Return the source of features by index.

        Raises:
            DataError: if the files are damaged, or their records have other features.
        """
        records = self._open()
        options: dict[str, Any] = {
            "num_samples": len(records.index),
            "fetch": functools.partial(self._fetch, records),
            "describe": records.index.describe,
            "on_bad_sample": self.on_bad_record,
            "why_bad": WHY_BAD,
            "system_error": lambda number: records.unreadable(records.index.place_of(number)),
            "shuffle": self.shuffle,
            "num_epochs": self.num_epochs,
        } | self._source_options()
        if records.compressed:
            return StreamSource(buffer_size=self.shuffle_buffer_size, records=records, **options)
        return SampleSource(blocks=records.blocks, **options)

    def _source_options(self) -> dict[str, Any]:
        """Return further attributes of the source."""
        return {}

    def _paths(self) -> list[str]:
        """Return the files that are read, in the order of the metadata's."""
        return self.metadata.local_files()

    def _finished(self, features: Features) -> Features:
        """Return the features of `get`, from those of the source."""
        return features

    def _open(self) -> Records:
        index: RecordIndex = self.metadata.index
        losses = index.losses()
        if losses and self.on_bad_record == "raise":
            raise DataError(
                f"{losses[0]}. Write the file anew, or leave the rest of it out with on_bad_record='skip'."
                + f" {len(losses)} files are damaged." * (len(losses) > 1)
            )
        if len({bool(scan.compression) for scan in index.scans}) > 1:
            compressed = next(path for path, scan in zip(index.paths, index.scans, strict=True) if scan.compression)
            raise DataError(
                f"some files are compressed, as {compressed!r}, and some are not. They are read in different ways: "
                "compress all of them or none, or read them as two data sets."
            )
        remember(index)
        records = Records(index, self._paths())
        if not self._overrides("_parser"):
            examples.check_first(records, self._spec)
        return records

    def _fetch(self, records: Records, index: tf.Tensor, content: tf.Tensor | None = None) -> Features:
        """Return the features of a record, whose content is read unless given."""
        parsed = self._parser(records.one(index) if content is None else content)
        with self._lock:
            self._found = {}
            self._build_features(*(parsed if isinstance(parsed, (list, tuple)) else [parsed]))
            return self._found
