"""Small data sets as they are published: the idx files of MNIST and the batches of CIFAR-10, read whole.

Files are checked before anything is made of them, and pickles are opened without running what is in them.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
from attrs import define, field

from mox_core.datasets import checks
from mox_core.datasets.folders import join, list_folder, read_bytes
from mox_core.datasets.requested_keys import check_known, check_names
from mox_core.errors import DataError
from mox_core.sdk import Features, SampleSource, captured_constant, read_once
from mox_core.stores.folder import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

NUM_CLASSES: Final = 10
_KEYS: Final = ("image", "label")
_GZIP_START: Final = b"\x1f\x8b"
_IDX_OF_BYTES: Final = b"\x00\x00\x08"
_CIFAR_SHAPE: Final = (3, 32, 32)  # planes of red, green and blue
_CIFAR_RECORD: Final = 1 + 3 * 32 * 32


def _constant(array: npt.NDArray[Any]) -> tf.Tensor:
    return captured_constant(array, tf.as_dtype(array.dtype))


@define(eq=False, slots=False)
class SmallImageDataset:
    """Images of one size with labels, held in memory and read inside `input_fn`.

    `get` returns 'image' (uint8, [height, width, channels]) and 'label' (int64).

    Attributes:
        images: uint8, [number, height, width, channels].
        labels: int64, [number].
        folder: where they come from, for messages.
        shuffle: whether each epoch has an order of its own.
        num_epochs: number of epochs; None for no end.
    """

    images: tf.Tensor = field(converter=_constant, repr=False)
    labels: tf.Tensor = field(converter=_constant, repr=False)
    folder: str
    shuffle: bool = field(default=True, validator=checks.is_bool, kw_only=True)
    num_epochs: int | None = field(default=None, validator=checks.at_least(1, or_none=True), kw_only=True)

    def get(self, keys: Sequence[str]) -> list[tf.Tensor]:
        """Return features of an image in the order of `keys`, inside `input_fn`.

        Args:
            keys: names of features: 'image', 'label'.

        Raises:
            UsageError: if a name is unknown, or where no data set is read.
        """
        check_names(keys, owner=type(self).__name__)
        check_known(keys, _KEYS, owner=type(self).__name__)
        features = read_once(self, lambda: self.source().read())
        return [features[key] for key in keys]

    def source(self) -> SampleSource:
        """Return the source of features by index."""
        return SampleSource(
            num_samples=len(self.labels),
            fetch=self._fetch,
            describe=lambda index: f"{self.folder}: image {index}",
            shuffle=self.shuffle,
            num_epochs=self.num_epochs,
        )

    def _fetch(self, index: tf.Tensor) -> Features:
        return {"image": tf.gather(self.images, index), "label": tf.gather(self.labels, index)}


def read_idx(folder: str, split: str) -> tuple[Bytes, npt.NDArray[np.int64]] | None:
    """Return images and labels of two idx files, packed with gzip or not; None if neither is there.

    Args:
        folder: where they are.
        split: the beginning of their names: 'train' or 't10k'.

    Raises:
        DataError: if only one is there, or they are not of this form.
    """
    images_path, labels_path = (_find_idx(folder, f"{split}-{rest}") for rest in ("images-idx3", "labels-idx1"))
    if images_path is None or labels_path is None:
        if alone := images_path or labels_path:
            raise DataError(
                f"{folder!r} holds {alone.rpartition('/')[2]!r} alone: images and labels are an idx file each."
            )
        return None
    images, labels = _read_idx(images_path, 3), _read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise DataError(f"{images_path!r} holds {len(images)} images, and {labels_path!r} {len(labels)} labels.")
    return images[..., np.newaxis], _checked(labels, labels_path)


def read_cifar(folder: str, names: Sequence[str]) -> tuple[Bytes, npt.NDArray[np.int64]] | None:
    """Return images and labels of the batches of CIFAR-10, binary ones or Python's; None if none is there.

    Args:
        folder: where they are, or the folder that is unpacked from the archive.
        names: the names of the batches.

    Raises:
        DataError: if some of them are missing, or not of this form.
    """
    forms: tuple[tuple[str, str, Callable[[str], Bytes]], ...] = (
        ("cifar-10-batches-bin", ".bin", _read_binary),
        ("cifar-10-batches-py", "", _read_pickle),
    )
    for inner, end, read in forms:
        for root in (folder, join(folder, inner)):
            held = _files_in(root)
            there = [name for name in names if f"{name}{end}" in held]
            if missing := sorted({*names} - {*there}) if there else []:
                raise DataError(f"{root!r} lacks {', '.join(f'{name}{end}' for name in missing)} of CIFAR-10.")
            if there:
                rows = np.concatenate([read(join(root, f"{name}{end}")) for name in names])
                planes = rows[:, 1:].reshape(-1, *_CIFAR_SHAPE)
                return planes.transpose(0, 2, 3, 1), _checked(rows[:, 0], root)
    return None


def _files_in(folder: str) -> frozenset[str]:
    """Return the names of the files in a folder, or on a store; none where there is no folder."""
    if is_remote(folder) or Path(folder).is_dir():
        with contextlib.suppress(DataError):
            return frozenset(list_folder(folder, "").files)
    return frozenset()


def _find_idx(folder: str, name: str) -> str | None:
    """Return the path of an idx file under one of the names by which it is spread."""
    names = [f"{each}-ubyte{end}" for each in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    held = _files_in(folder)
    return next((join(folder, each) for each in names if each in held), None)


def _read_idx(path: str, dimensions: int) -> Bytes:
    content = _content(path)
    start = 4 + 4 * dimensions
    if content[:4] != _IDX_OF_BYTES + bytes([dimensions]) or len(content) < start:
        raise DataError(f"{path!r} is no idx file of bytes in {dimensions} dimensions: it begins {content[:4]!r}.")
    shape = [int(size) for size in np.frombuffer(content[4:start], ">u4")]
    if len(content) != start + int(np.prod(shape)):
        raise DataError(f"{path!r} is cut off or damaged: {len(content)} bytes, and its header says {shape}.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _content(path: str) -> bytes:
    try:
        content = read_bytes(path)
        return gzip.decompress(content) if content.startswith(_GZIP_START) else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path!r} cannot be read: {error}.") from error


def _read_binary(path: str) -> Bytes:
    """Return the images of a binary batch, each a row: its label, then its pixels."""
    content = np.frombuffer(_content(path), np.uint8)
    if not len(content) or len(content) % _CIFAR_RECORD:
        raise DataError(
            f"{path!r} is no whole batch of CIFAR-10: its {len(content)} bytes are no images of {_CIFAR_RECORD}."
        )
    return content.reshape(-1, _CIFAR_RECORD)


def _read_pickle(path: str) -> Bytes:
    """Return what `_read_binary` does, of a pickle."""
    try:
        batch = _ArraysOnly(io.BytesIO(_content(path)), encoding="bytes").load()
        pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(f"{path!r} is no batch of CIFAR-10: {type(error).__name__}: {error}.") from error
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), _CIFAR_RECORD - 1):
        raise DataError(f"{path!r} is no batch of CIFAR-10: its data is {pixels.dtype} of shape {pixels.shape}.")
    return np.concatenate([_checked(labels, path).astype(np.uint8)[:, np.newaxis], pixels], axis=1)


class _ArraysOnly(pickle.Unpickler):
    """Opens pickles that hold arrays, lists, dicts, numbers and strings, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the functions that make an array."""
        makers: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
        for place in ("numpy.core.multiarray", "numpy._core.multiarray"):  # as older and newer ones name it
            makers[place, "_reconstruct"] = np.empty(0).__reduce__()[0]
        makers["_codecs", "encode"] = _encode
        if (module, name) not in makers:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and arrays need nothing of the kind")
        return makers[module, name]


def _encode(text: str, encoding: str) -> bytes:
    """Do what Python 3 asks for to write bytes in the older form of pickles."""
    return text.encode(encoding)


def _checked(labels: npt.NDArray[Any], path: str) -> npt.NDArray[np.int64]:
    """Return labels as int64.

    Raises:
        DataError: if there are none, or one is no label of a class.
    """
    if not len(labels):
        raise DataError(f"{path!r} holds no image.")
    if wrong := [int(label) for label in np.unique(labels) if not 0 <= label < NUM_CLASSES]:
        raise DataError(f"{path!r} holds the label {wrong[0]}; labels go from 0 to {NUM_CLASSES - 1}.")
    return labels.astype(np.int64)
