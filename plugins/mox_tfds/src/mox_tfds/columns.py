"""Data sets in columns: Parquet and Arrow files, as Hugging Face's `datasets` publishes and saves them.

pyarrow is all that is needed. Arrow files, which `save_to_disk` writes, are mapped into memory: a sample is read where
it lies. Parquet files are packed in groups of rows, so they are unpacked into memory once.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf
from attrs import define, field

from mox_core.datasets import checks
from mox_core.datasets.requested_keys import check_known, check_names
from mox_core.errors import DataError, UsageError
from mox_core.name_lists import number_of, some
from mox_core.sdk import READABLE, Features, SampleSource, read_once
from mox_core.stores.folder import is_remote
from mox_tfds.column_types import Column, column_of, features_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_SUFFIXES: Final = (".arrow", ".parquet")
_PATTERNS: Final = (
    "{split}/*",
    "data/{split}-*",
    "data/{split}.*",
    "{split}-*",
    "{split}.*",
    "*/{split}/*",
    "*/{split}-*",
)
"""Where the files of a split lie: saved by `datasets`, in repositories of the Hub, and as the Hub converts them."""
_LARGE: Final = 2**31
_LARGEST_INT64: Final = 2**63 - 1
_PARTS: Final = re.compile(r"-(\d+)-of-(\d+)\.")


def parquet(
    *,
    split_name: str,
    dataset_dir: str,
    shuffle: bool = True,
    num_epochs: int | None = None,
    on_bad_sample: str = "skip",
    capacity: int = 256,
) -> ColumnDataset:
    """Return one split of a data set in Parquet or Arrow files.

    `get` returns columns by name. Images, which are columns of encoded bytes, are decoded (uint8, [height, width, 3],
    or 1 channel for grey ones); whole numbers are int64, and categories of pandas are their values. The names of
    classes are those of the file's schema, as `datasets` writes them. Only columns that are asked for are read. Where
    one of them has no value, the row is bad; of floating-point numbers, it is NaN, which pandas saves so.

    Args:
        split_name: the split, 'train' say. The files of a folder without splits are 'train'.
        dataset_dir: a folder that `datasets` has saved (`save_to_disk`), a copy of a repository of the Hub
            (`data/train-00000-of-00002.parquet`), or one file.
        shuffle: whether each epoch has an order of its own.
        num_epochs: number of epochs; None for no end.
        on_bad_sample: 'skip' leaves out rows without a value, and images that cannot be decoded, with a warning;
            'raise' ends the run.
        capacity: no effect; tf.data decides.

    Raises:
        UsageError: if an argument is wrong.
        DataError: if no files of that split are there, or some are missing or damaged.
    """
    del capacity
    if is_remote(os.fspath(dataset_dir)):
        raise UsageError(f"dataset_dir is {dataset_dir!r}; Parquet and Arrow files are read from this machine.")
    files = _files(Path(dataset_dir), split_name)
    tables = [_table(path) for path in files]
    others = [path for path, table in zip(files, tables, strict=True) if table.schema != tables[0].schema]
    if others:
        raise DataError(f"{others[0].name!r} has other columns than {files[0].name!r} in {os.fspath(dataset_dir)!r}.")
    return ColumnDataset(
        pa.concat_tables(tables),
        os.fspath(dataset_dir),
        shuffle=shuffle,
        num_epochs=num_epochs,
        on_bad_sample=on_bad_sample,
    )


@define(eq=False, slots=False)
class ColumnDataset:
    """A table of samples, read inside `input_fn`.

    Attributes:
        folder: where it comes from, for messages.
        shuffle: whether each epoch has an order of its own.
        num_epochs: number of epochs; None for no end.
        on_bad_sample: 'skip' or 'raise'.
        class_names: the names of the classes by label, where the schema knows them for the column 'label'.
    """

    _table: Any = field(repr=False)
    folder: str
    shuffle: bool = field(default=True, validator=checks.is_bool, kw_only=True)
    num_epochs: int | None = field(default=None, validator=checks.at_least(1, or_none=True), kw_only=True)
    on_bad_sample: str = field(default="skip", validator=checks.one_of("skip", "raise"), kw_only=True)
    class_names: tuple[str, ...] = field(init=False)
    _columns: dict[str, Column] = field(init=False)
    _not_read: dict[str, str] = field(init=False)
    _known: set[str] = field(init=False, factory=set)
    _asked: set[str] = field(init=False, factory=set)
    _asked_eagerly: set[str] = field(init=False, factory=set)

    def __attrs_post_init__(self) -> None:
        if not self._table.num_rows:
            raise DataError(f"{self.folder!r} holds no sample.")
        features = features_of(self._table.schema)
        columns = {each.name: column_of(each, features.get(each.name, {})) for each in self._table.schema}
        self._columns = {name: column for name, column in columns.items() if column is not None}
        self._not_read = {each.name: str(each.type) for each in self._table.schema if columns[each.name] is None}
        if self._not_read:
            tf.get_logger().info(
                "%s: columns of types that are no tensors are not read: %s", self.folder, ", ".join(self._not_read)
            )
        self.class_names = tuple(features.get("label", {}).get("names", ()))

    @property
    def num_samples(self) -> int:
        """How many samples it has."""
        return int(self._table.num_rows)

    def get(self, keys: Sequence[str]) -> list[tf.Tensor]:
        """Return columns of a sample in the order of `keys`, inside `input_fn`.

        Args:
            keys: names of columns.

        Raises:
            UsageError: if a name is unknown, or where no data set is read.
        """
        check_names(keys, owner=type(self).__name__)
        for key in keys:
            if key in self._not_read:
                raise UsageError(
                    f"column {key!r} of {self.folder!r} is of type {self._not_read[key]}, which is no tensor: save it "
                    "as numbers, lists of numbers, or text."
                )
        check_known(keys, self._columns, owner=type(self).__name__)
        for key in set(keys) - self._known:
            self._check_numbers(key)
            self._known.add(key)
        features = read_once(self, lambda: self._read(keys))
        self._asked.update(keys)
        return [features[key] for key in keys]

    def source(self) -> SampleSource:
        """Return the source of features by index, of all columns."""
        return self._source(self._columns)

    def _source(self, asked: Collection[str]) -> SampleSource:
        """Return the source of features by index; columns that are not asked for are empty."""
        return SampleSource(
            num_samples=self.num_samples,
            fetch=functools.partial(self._fetch, asked),
            describe=lambda index: f"{self.folder}: row {index}",
            system_error=lambda index: self._row(asked, index)[1],
            on_bad_sample=self.on_bad_sample,
            shuffle=self.shuffle,
            num_epochs=self.num_epochs,
            class_names=self.class_names,
        )

    def _read(self, keys: Sequence[str]) -> Features:
        """Begin to read, or eagerly, read on; further calls of `get` in one `input_fn` add to what is asked for."""
        if not tf.executing_eagerly():
            self._asked = set(keys)
            return self._source(self._asked).read()
        self._asked_eagerly = self._asked_eagerly or set(keys)
        late = [key for key in keys if key not in self._asked_eagerly]
        if late:
            first = ", ".join(sorted(self._asked_eagerly))
            raise UsageError(
                f"column {late[0]!r} was not asked for when reading began, with {first}. Outside of mox.run each `get` "
                "gives the next row: ask for all columns in each."
            )
        return self._source(self._asked_eagerly).read()

    def _check_numbers(self, key: str) -> None:
        """Refuse whole numbers that do not fit int64, and tell of numbers that become NaN."""
        column = self._table[key]
        while pa.types.is_nested(column.type):
            if pa.types.is_struct(column.type):
                return
            column = pc.list_flatten(column)
        if column.null_count and pa.types.is_floating(column.type):
            tf.get_logger().warning(
                "column %r of %s has no value for %d of %d numbers: model_fn gets NaN there.",
                key,
                self.folder,
                column.null_count,
                len(column),
            )
        if pa.types.is_uint64(column.type) and (largest := pc.max(column).as_py() or 0) > _LARGEST_INT64:
            raise DataError(
                f"column {key!r} of {self.folder!r} holds {largest}, which does not fit int64: save it as smaller "
                "numbers or as text."
            )

    def _row(self, asked: Collection[str], row: int) -> tuple[list[Any], str]:
        """Return the values of a row, and what is wrong with it; '' for nothing."""
        values, wrong = [], ""
        for name, column in self._columns.items():
            value = column.empty()
            if name in asked and not wrong:
                try:
                    value = column.value_of(self._table[name][row].as_py())
                except ValueError as error:
                    wrong = f"column {name!r} {error}"
            values.append(value)
        return values, wrong

    def _fetch(self, asked: Collection[str], index: tf.Tensor) -> Features:
        def read(row: Any) -> list[Any]:
            values, wrong = self._row(asked, int(row))
            return [np.bool_(not wrong), *values]

        columns = self._columns.values()
        is_readable, *tensors = tf.numpy_function(read, [index], [tf.bool, *(each.dtype for each in columns)])
        features = {
            name: column.finish(tf.ensure_shape(tensor, column.shape))
            for (name, column), tensor in zip(self._columns.items(), tensors, strict=True)
        }
        return {**features, READABLE: tf.ensure_shape(is_readable, [])}


def _files(folder: Path, split_name: str) -> list[Path]:
    """Return the files of a split, in order."""
    if folder.is_file():
        return [folder]
    if not folder.exists():
        raise DataError(f"there is no folder {str(folder)!r}, where split {split_name!r} is to be. Nothing is fetched.")
    if re.search(r"\[.*\]|\+", split_name):
        raise UsageError(
            f"split_name is {split_name!r}: parts and sums of splits are for data sets of TensorFlow Datasets "
            "('tfds'). Name a split here, and save a part of one as a split of its own."
        )
    for pattern in (*_PATTERNS, *(["*"] if split_name == "train" else [])):
        found = sorted(each for each in folder.glob(pattern.format(split=split_name)) if each.suffix in _SUFFIXES)
        if found:
            _check_parts(found)
            return found
    every = sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.suffix in _SUFFIXES)
    holds = f"It holds {some(every)}." if every else "It holds none."
    raise DataError(
        f"{str(folder)!r} holds no Parquet or Arrow files of split {split_name!r}, as '{split_name}/data-00000-of-"
        f"00001.arrow' or 'data/{split_name}-00000-of-00001.parquet'. {holds} Nothing is fetched here. Where there "
        f"is a network: python -c \"import datasets; datasets.load_dataset('<name>').save_to_disk({str(folder)!r})\""
    )


def _check_parts(files: Sequence[Path]) -> None:
    """Refuse files of which some are missing, by the numbers in their names."""
    parts = [match for each in files if (match := _PARTS.search(each.name))]
    for match in parts[:1]:
        whole = int(match[2])
        if len(files) != whole:
            number = number_of(len(files), "file")
            raise DataError(
                f"{str(files[0].parent)!r} holds {number} as {files[0].name!r}, and their names say that there are "
                f"{whole}."
            )


def _warn_of_size(path: Path) -> None:
    about = pq.read_metadata(path)
    size = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
    if size > _LARGE:
        tf.get_logger().warning(
            "%s takes %.1f GiB of memory, in which it is unpacked: what save_to_disk of datasets writes is mapped.",
            path,
            size / 2**30,
        )


def _table(path: Path) -> Any:
    """Return the rows of a file."""
    try:
        if path.suffix == ".parquet":
            _warn_of_size(path)
            return pq.read_table(path, memory_map=True)
        with pa.memory_map(str(path)) as mapped:
            try:
                return pa.ipc.open_stream(mapped).read_all()
            except pa.ArrowInvalid:
                return pa.ipc.open_file(mapped).read_all()
    except (pa.ArrowException, OSError) as error:
        if path.suffix not in _SUFFIXES:
            raise DataError(f"{str(path)!r} is neither a Parquet nor an Arrow file, which are read here.") from error
        raise DataError(f"{str(path)!r} is no {path.suffix[1:]} file that can be read: {error}") from error
