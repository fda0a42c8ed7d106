"""Data sets that TensorFlow Datasets has prepared in a folder: found, and read by the number of a sample.

TensorFlow Datasets says what is in the folder and decodes a record; the order is mox's, so that shuffling covers the
whole set and a resumed run begins anywhere at once. Nothing is fetched or prepared.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field

from mox_core.datasets import checks
from mox_core.datasets.requested_keys import check_known, check_names
from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import DataError, UsageError
from mox_core.name_lists import some
from mox_core.sdk import Features, SampleSource, read_once
from mox_core.stores.folder import is_remote
from mox_tfds.records import ArrayRecordShard, Records, TFRecordShard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mox_tfds.records import Shard

_INFO: Final = "dataset_info.json"
_ID: Final = "tfds_id"
_SHARDS: Final[Mapping[str, Callable[[Path], Shard]]] = {"tfrecord": TFRecordShard, "array_record": ArrayRecordShard}


def tfds(
    *,
    split_name: str,
    dataset_dir: str,
    tfds_name: str = "",
    shuffle: bool = True,
    num_epochs: int | None = None,
    on_bad_sample: str = "skip",
    capacity: int = 256,
) -> PreparedDataset:
    """Return one split of a data set that TensorFlow Datasets has prepared.

    `get` returns the features of the data set under its names, decoded ('image' as uint8, 'label' as int64), and
    'tfds_id', which names the sample.

    Args:
        split_name: the name of a split, or a part of it as TensorFlow Datasets writes it: 'train[:80%]'.
        dataset_dir: the data_dir of TensorFlow Datasets, or the folder of the version itself, in which
            `dataset_info.json` lies.
        tfds_name: the data set, with the name of a configuration where it has several: 'svhn_cropped',
            'stanford_dogs:1.0.0', 'emnist/letters'. The newest version that is there is read, if none is given.
        shuffle: whether each epoch has an order of its own.
        num_epochs: number of epochs; None for no end.
        on_bad_sample: 'skip' leaves out what cannot be decoded, with a warning; 'raise' ends the run.
        capacity: no effect; tf.data decides.

    Raises:
        UsageError: if an argument is wrong.
        DataError: if nothing is prepared there, with what prepares it.
    """
    del capacity
    builder = _builder(tfds_name, os.fspath(dataset_dir))
    return PreparedDataset(
        builder, _split(builder, split_name), shuffle=shuffle, num_epochs=num_epochs, on_bad_sample=on_bad_sample
    )


@define(eq=False, slots=False)
class PreparedDataset:
    """A split of a prepared data set, read inside `input_fn`.

    Attributes:
        shuffle: whether each epoch has an order of its own.
        num_epochs: number of epochs; None for no end.
        on_bad_sample: 'skip' or 'raise'.
        class_names: the names of the classes by label, where the data set has one feature 'label' that knows them.
    """

    _builder: Any
    _split: Any
    shuffle: bool = field(default=True, validator=checks.is_bool, kw_only=True)
    num_epochs: int | None = field(default=None, validator=checks.at_least(1, or_none=True), kw_only=True)
    on_bad_sample: str = field(default="skip", validator=checks.one_of("skip", "raise"), kw_only=True)
    class_names: tuple[str, ...] = field(init=False)
    _records: Records = field(init=False)
    _names: list[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        features = self._builder.info.features
        if _ID in features:
            raise DataError(f"the data set in {self.folder!r} has a feature {_ID!r} of its own, which names samples.")
        self.class_names = tuple((getattr(features["label"], "names", None) if "label" in features else None) or ())
        instructions = self._split.file_instructions
        shard = _SHARDS[self._builder.info.file_format.value]
        self._names = [Path(each.filename).name for each in instructions]
        missing = [each for each in self._names if not (Path(self.folder) / each).is_file()]
        if missing:
            raise DataError(
                f"{missing[0]!r} is not in {self.folder!r}, and {_INFO} says that {len(self._names)} files hold the "
                "split: the folder is damaged, or was copied in part."
            )
        shards = [shard(Path(self.folder) / each) for each in self._names]
        for each, file, instruction in zip(self._names, shards, instructions, strict=True):
            if len(file) != instruction.examples_in_shard:
                raise DataError(
                    f"{each!r} in {self.folder!r} holds {len(file)} records, and {_INFO} says "
                    f"{instruction.examples_in_shard}: the folder is damaged, or its parts are of several versions."
                )
        counts = [each.take if each.take >= 0 else each.examples_in_shard - each.skip for each in instructions]
        self._records = Records(shards, [each.skip for each in instructions], counts)

    @property
    def folder(self) -> str:
        """The folder of its files."""
        return os.fspath(self._builder.data_path)

    @property
    def num_samples(self) -> int:
        """How many samples the split has."""
        return len(self._records)

    def get(self, keys: Sequence[str]) -> list[tf.Tensor]:
        """Return features of a sample in the order of `keys`, inside `input_fn`.

        Args:
            keys: names of features of the data set, or 'tfds_id'.

        Raises:
            UsageError: if a name is unknown, or where no data set is read.
        """
        check_names(keys, owner=type(self).__name__)
        check_known(keys, (*self._builder.info.features, _ID), owner=type(self).__name__)
        features = read_once(self, lambda: self.source().read())
        return [features[key] for key in keys]

    def source(self) -> SampleSource:
        """Return the source of features by index."""
        return SampleSource(
            num_samples=self.num_samples,
            fetch=self._fetch,
            describe=lambda index: f"{self.folder}: {self._id(index).decode()}",
            on_bad_sample=self.on_bad_sample,
            shuffle=self.shuffle,
            num_epochs=self.num_epochs,
            class_names=self.class_names,
        )

    def _id(self, index: int) -> bytes:
        shard, number = self._records.place(int(index))
        return f"{self._names[shard]}__{number}".encode()

    def _fetch(self, index: tf.Tensor) -> Features:
        record, name = tf.numpy_function(
            lambda at: (self._records.read(int(at)), self._id(at)), [index], (tf.string, tf.string)
        )
        record, name = tf.ensure_shape(record, []), tf.ensure_shape(name, [])
        return {**self._builder.info.features.deserialize_example(record), _ID: name}


def _builder(name: str, folder: str) -> Any:
    """Return what TensorFlow Datasets knows of a prepared folder."""
    import tensorflow_datasets as tfds_  # noqa: PLC0415  (it takes seconds)

    if is_remote(folder):
        raise UsageError(f"dataset_dir is {folder!r}; prepared data sets are read from folders of this machine.")
    place = _find(name, Path(folder))
    if place is None:
        plain, holds = name.partition(":")[0], _prepared_in(Path(folder))
        if holds and not name:
            raise UsageError(f"tfds_name is not given, and {folder!r} holds {some(holds)}: tfds_name={holds[0]!r}.")
        near = did_you_mean(nearest(plain, holds)) or (holds and f"It holds {some(holds)}.") or ""
        raise DataError(
            f"{folder!r} holds no prepared data set{name and f' {name!r}'}.{near and ' '}{near} Nothing is fetched "
            'here. Where there is a network: python -c "import tensorflow_datasets as tfds; '
            f'tfds.builder({plain or "<name>"!r}, data_dir={folder!r}).download_and_prepare()"'
        )
    try:
        builder = tfds_.builder_from_directory(str(place))
    except (OSError, ValueError) as error:  # a file that tells of the data set is missing, or is no JSON
        raise DataError(f"the data set in {str(place)!r} is damaged, or was copied in part: {error}") from error
    if name and builder.name != re.split("[/:]", name)[0]:
        raise DataError(f"{str(place)!r} holds {builder.name!r}, and not {name!r}.")
    kind = builder.info.file_format.value if builder.info.file_format else "tfrecord"
    if kind not in _SHARDS:
        raise DataError(
            f"the data set in {str(place)!r} is prepared as {kind}; mox reads {' and '.join(_SHARDS)}: prepare it with "
            "file_format='array_record'."
        )
    return builder


def _find(name: str, folder: Path) -> Path | None:
    """Return the folder of the newest version of a data set, or of the one that is given behind a colon."""
    if (folder / _INFO).is_file():
        return folder
    plain, _, version = name.partition(":")
    found = [path.parent for path in (folder / plain).glob(f"**/{_INFO}")] if plain else []
    found = [path for path in found if not version or path.name == version]
    depth = {len(path.relative_to(folder / plain).parts) for path in found}
    if depth and max(depth) > 1:
        configurations = sorted({str(path.parent.relative_to(folder / plain)) for path in found})
        if len(configurations) > 1:
            raise UsageError(
                f"{str(folder / plain)!r} holds several configurations ({', '.join(configurations)}): name one, "
                f"tfds_name={f'{plain}/{configurations[0]}'!r}."
            )
    return max(found, key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)], default=None)


def _prepared_in(folder: Path) -> list[str]:
    return sorted({path.relative_to(folder).parts[0] for path in folder.glob(f"*/**/{_INFO}")})


def _split(builder: Any, split_name: str) -> Any:
    splits = builder.info.splits
    try:
        return splits[split_name]
    except (KeyError, ValueError, AssertionError) as error:
        known = ", ".join(f"{name!r} ({split.num_examples})" for name, split in splits.items())
        raise UsageError(
            f"split_name is {split_name!r}, and the data set in {os.fspath(builder.data_path)!r} has {known}; a part "
            "of one is written as 'train[:80%]'."
        ) from error
