"""A data set of arrays in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.datasets import checks
from mox_core.datasets.requested_keys import check_known, check_names
from mox_core.errors import UsageError
from mox_core.sdk import Features, SampleSource, read_once
from mox_core.whole_numbers import is_whole_number
from mox_datasets_raw.columns import columns_of, is_list_of_arrays, row_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mox_datasets_raw.columns import Column


class ArrayDataset:
    """Arrays in memory, a row for each sample, read inside `input_fn` with `get`.

    The names of its features are the keys of a dict and the columns of a DataFrame; a Series has its own name, and
    whatever has none is called as its argument: 'x', 'y', 'sample_weight' (in a list 'x_0', 'x_1' and so on).

    Arrays are copied once, when the data set is made: what becomes of them later has no effect. Dtypes stay as they
    are, float64 too. The rows of sparse matrices are made dense batch by batch.

    Example:
        train = mox.ArrayDataset(images, labels)

        def input_fn(mode):
            image, label = train.get()
            return tf.cast(image, tf.float32) / 255, label

    Args:
        x: an array (of NumPy, a tensor, a list of numbers), a dict or a list of arrays, a pandas DataFrame or Series,
            or a sparse matrix of SciPy.
        y: the same, or None.
        sample_weight: the same, or None.
        shuffle: whether each epoch has an order of its own.
        num_epochs: number of epochs; None for no end.

    Attributes:
        num_samples: the number of rows.

    Raises:
        UsageError: if they differ in length, are no arrays, or of a dtype that TensorFlow has no tensors for.
        DataError: if they have no rows, or a row without a value.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        shuffle: bool = True,
        num_epochs: int | None = None,
    ) -> None:
        if not isinstance(shuffle, bool):
            raise checks.refuse(self, "shuffle", shuffle, "True or False")
        if num_epochs is not None and not is_whole_number(num_epochs, least=1):
            raise checks.refuse(self, "num_epochs", num_epochs, "None or a whole number from 1")
        self.shuffle = shuffle
        self.num_epochs = None if num_epochs is None else int(num_epochs)
        given = {"x": x, "y": y, "sample_weight": sample_weight}
        given = {name: value for name, value in given.items() if value is not None or name == "x"}
        _check_row_labels(given)
        self._columns = _columns(given)
        self.num_samples = len(next(iter(self._columns.values())))

    def get(self, keys: Sequence[str] | None = None) -> list[tf.Tensor]:
        """Return features of a sample in the order of `keys`, inside `input_fn`.

        All calls in one `input_fn` return features of the same sample.

        Args:
            keys: names of features; None for all of them, in the order in which they were given.

        Raises:
            UsageError: if a name is unknown, or in another graph than that of `input_fn`, as that of `model_fn`.
        """
        keys = list(self._columns) if keys is None else keys
        check_names(keys, owner=type(self).__name__)
        check_known(keys, self._columns, owner=type(self).__name__)
        features = read_once(self, lambda: self.source().read())
        return [features[key] for key in keys]

    def source(self) -> SampleSource:
        """Return the source of features by index."""
        return SampleSource(
            num_samples=self.num_samples,
            fetch=self._row,
            fetch_many=self._rows,
            describe=lambda index: f"row {index} of ArrayDataset",
            shuffle=self.shuffle,
            num_epochs=self.num_epochs,
        )

    def _rows(self, indices: tf.Tensor) -> Features:
        return {name: column.rows(indices) for name, column in self._columns.items()}

    def _row(self, index: tf.Tensor) -> Features:
        return {name: rows[0] for name, rows in self._rows(index[tf.newaxis]).items()}


def _columns(given: Mapping[str, Any]) -> dict[str, Column]:
    """Return the columns of all arguments by name.

    Raises:
        UsageError: if two have one name, or they differ in length.
    """
    columns: dict[str, Column] = {}
    for argument, value in given.items():
        for name, column in columns_of(argument, value):
            if name in columns:
                raise UsageError(
                    f"two columns of ArrayDataset are named {name!r}, and get([...]) tells them by their names: give "
                    "them in one dict, under names of their own."
                )
            columns[name] = column
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} has {length} rows" for name, length in lengths.items())
        lists = [argument for argument, value in given.items() if is_list_of_arrays(value)]
        more = "".join(
            f" {each} is a list of {len(given[each])} arrays, which are columns; np.stack({each}) makes rows of them."
            for each in lists
        )
        raise UsageError(f"the columns of ArrayDataset differ in length: {listed}. A row is a sample.{more}")
    return columns


def _check_row_labels(given: Mapping[str, Any]) -> None:
    """Refuse pandas objects whose rows have other labels: they would be paired by their place, which is hardly meant.

    Raises:
        UsageError: if the labels differ, in themselves or in their order.
    """
    labels = [(argument, index) for argument, value in given.items() for index in row_labels(value)]
    for argument, index in labels[1:]:
        first, expected = labels[0]
        if len(index) == len(expected) and not index.equals(expected):
            pairs = zip(expected, index, strict=True)
            place = next((place for place, (one, other) in enumerate(pairs) if one != other), 0)
            raise UsageError(
                f"the rows of {first} and {argument} have different labels in their pandas index (in row {place} "
                f"{expected[place]} and {index[place]}), and ArrayDataset pairs rows by their place. Bring them "
                f"into one order, as by {argument}.loc[{first}.index]; or if the places are right, leave the labels "
                f"out: {argument}.reset_index(drop=True), for both."
            )
