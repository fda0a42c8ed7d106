"""`tensorflow.examples.tutorials.mnist.input_data`: the digits of a folder of idx files, in batches."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from mox_core.errors import DataError

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

_FILES: Final = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_UNSIGNED_BYTES: Final = 8
_MAX_PIXEL: Final = 255.0


class DataSet:
    """Images and labels in batches, in a new order after each time through, as the tutorials of TensorFlow 1 read them.

    Args:
        images: an array of images, one a row.
        labels: their labels.
        seed: of the order; None for another one each time.
    """

    def __init__(self, images: npt.NDArray[Any], labels: npt.NDArray[Any], seed: int | None = None) -> None:
        self.images = images
        self.labels = labels
        self.epochs_completed = 0
        self._random = np.random.default_rng(seed)
        self._order = np.arange(len(images))
        self._next = 0

    @property
    def num_examples(self) -> int:
        """How many images there are."""
        return len(self.images)

    def next_batch(
        self,
        batch_size: int,
        fake_data: bool = False,  # noqa: FBT001, FBT002 (the signature of the tutorials)
        shuffle: bool = True,  # noqa: FBT001, FBT002 (as above)
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return the next images and labels; a batch over the end goes on with the beginning of the next epoch."""
        if fake_data:
            raise DataError("next_batch(fake_data=True) is not there: make arrays of your own.")
        if shuffle and self._next == 0 and self.epochs_completed == 0:
            self._order = self._random.permutation(self.num_examples)
        chosen: list[int] = []
        while len(chosen) < batch_size:
            if self._next == self.num_examples:
                self._next = 0
                self.epochs_completed += 1
                self._order = self._random.permutation(self.num_examples) if shuffle else np.arange(self.num_examples)
            end = min(self.num_examples, self._next + batch_size - len(chosen))
            chosen += self._order[self._next : end].tolist()
            self._next = end
        return self.images[chosen], self.labels[chosen]


class Datasets(NamedTuple):
    """The three sets of MNIST."""

    train: DataSet
    validation: DataSet
    test: DataSet


def read_data_sets(
    train_dir: str | os.PathLike[str],
    fake_data: bool = False,  # noqa: FBT001, FBT002 (as above)
    one_hot: bool = False,  # noqa: FBT001, FBT002 (as above)
    dtype: Any = np.float32,
    reshape: bool = True,  # noqa: FBT001, FBT002 (as above)
    validation_size: int = 5000,
    seed: int | None = None,
    source_url: str | None = None,  # noqa: ARG001 (as above; nothing is fetched)
) -> Datasets:
    """Read the four idx files of MNIST, packed with gzip or not, from a folder. Nothing is fetched.

    Args:
        train_dir: the folder.
        fake_data: is refused.
        one_hot: whether labels are rows of zeros and a one.
        dtype: float32 gives pixels from 0 to 1, uint8 from 0 to 255.
        reshape: whether images are rows of pixels; else they have a height, a width and a channel.
        validation_size: how many of the first training images make the validation set.
        seed: of the order of batches.
        source_url: is not used.

    Raises:
        DataError: if a file is missing or not of this form.
    """
    if fake_data:
        raise DataError("read_data_sets(fake_data=True) is not there: make arrays of your own.")
    folder = Path(train_dir)
    arrays = [_read(folder, name) for name in _FILES]
    if not 0 <= validation_size <= len(arrays[0]):
        raise DataError(f"validation_size={validation_size} is not from 0 to {len(arrays[0])}, the training images.")
    train, test = ((images, labels) for images, labels in (arrays[:2], arrays[2:]))
    parts = (
        (train[0][validation_size:], train[1][validation_size:]),
        (train[0][:validation_size], train[1][:validation_size]),
        test,
    )
    return Datasets(*(DataSet(_images(i, dtype, reshape), _labels(n, one_hot), seed) for i, n in parts))


def _images(images: npt.NDArray[Any], dtype: Any, reshape: bool) -> npt.NDArray[Any]:  # noqa: FBT001
    shaped = images.reshape(len(images), images.shape[1] * images.shape[2]) if reshape else images[..., None]
    kind = np.dtype(getattr(dtype, "as_numpy_dtype", dtype))
    if kind not in (np.dtype(np.float32), np.dtype(np.uint8)):
        raise DataError(f"dtype={dtype!r} is neither float32 nor uint8.")
    return shaped.astype(np.float32) / np.float32(_MAX_PIXEL) if kind == np.dtype(np.float32) else shaped


def _labels(labels: npt.NDArray[Any], one_hot: bool) -> npt.NDArray[Any]:  # noqa: FBT001
    return np.eye(10)[labels] if one_hot else labels


def _read(folder: Path, name: str) -> npt.NDArray[Any]:
    """Read one idx file: two zero bytes, a type, the number of dimensions, their sizes, the values."""
    packed, plain = folder / f"{name}.gz", folder / name
    path = packed if packed.is_file() else plain
    if not path.is_file():
        raise DataError(
            f"{folder} holds neither {packed.name} nor {plain.name}: MNIST is four idx files, which are not fetched. "
            f"Wanted: {', '.join(_FILES)}."
        )
    content = gzip.decompress(path.read_bytes()) if path == packed else path.read_bytes()
    if content[:3] != bytes([0, 0, _UNSIGNED_BYTES]):
        raise DataError(f"{path} is no idx file of bytes: it begins with {content[:4]!r}.")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = [int(size) for size in np.frombuffer(content[4:start], ">u4")]
    if len(content) != start + int(np.prod(shape)):
        raise DataError(f"{path} is cut off or damaged: {len(content)} bytes where its header says {shape}.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
