"""Files of Keras: `.weights.h5`, `.keras`, and the HDF5 files of before, which `keras.applications` still publishes.

They are read without building the model: that would need the classes of its layers, and run what the file says.
"""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf

from mox_core.engine.weights.stored import StoredArray, StoredLayer, StoredWeights
from mox_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_ZIP: Final = b"PK\x03\x04"
_WEIGHTS: Final = "model.weights.h5"
_CONFIG: Final = "config.json"
_VARS: Final = "vars"
_NO_LAYERS: Final = ("optimizer", "_optimizer", "compiled_metrics")
"""Groups at the top of a file that hold what belongs to a training and not to its model."""
_BFLOAT16: Final = "bfloat16"


def is_keras_file(path: Path) -> bool:
    """Whether a file is HDF5 or a zip archive, by its first bytes."""
    with path.open("rb") as file:
        return file.read(8).startswith((_HDF5, _ZIP))


def read_keras_file(path: Path) -> StoredWeights:
    """Read a file of Keras.

    Raises:
        CheckpointError: if it is damaged, or holds something else.
    """
    with path.open("rb") as file:
        archive = file.read(4) == _ZIP
    with _damage_told(path):
        return _read_archive(path) if archive else _read_hdf5(path)


def read_layers(path: Path) -> list[StoredLayer]:
    """Read the layers of a `.weights.h5`.

    Raises:
        CheckpointError: if it is damaged, or holds something else.
    """
    with _damage_told(path), _opened(path) as file:
        return _layers(file, path)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        first_line = str(error).partition("\n")[0]
        raise CheckpointError(f"{str(path)!r} is damaged ({type(error).__name__}: {first_line}).") from error


@contextmanager
def _opened(file: Any) -> Iterator[Any]:
    import h5py  # noqa: PLC0415  (as Keras does: where such a file is read)

    with h5py.File(file, "r") as opened:
        yield opened


def _read_archive(path: Path) -> StoredWeights:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if _CONFIG not in names or _WEIGHTS not in names:
            raise CheckpointError(
                f"{str(path)!r} is a zip archive and no model of Keras: it lacks {_CONFIG!r} or {_WEIGHTS!r}."
            )
        json.loads(archive.read(_CONFIG))  # the file is whole
        with _opened(io.BytesIO(archive.read(_WEIGHTS))) as file:
            return StoredWeights(str(path), "a model of Keras", _layers(file, path), ordered=True, counted=True)


def _read_hdf5(path: Path) -> StoredWeights:
    with _opened(path) as file:
        top = file.get("model_weights", file)
        if "layer_names" in top.attrs or "layer_names0" in top.attrs:
            kind = "a model of Keras in HDF5" if top is not file else "weights of Keras by the names of layers"
            return StoredWeights(str(path), kind, _layers_of_before(top), ordered=True, counted=True)
        return StoredWeights(str(path), "weights of Keras", _layers(file, path), ordered=True, counted=True)


def _layers(file: Any, path: Path) -> list[StoredLayer]:
    """Return the layers of a `.weights.h5`: each group of arrays has the name of its layer."""
    found: list[StoredLayer] = []
    nameless: list[str] = []

    def walk(group: Any, chain: tuple[str, ...]) -> None:
        own = group.get(_VARS)
        if own is not None:
            name = own.attrs.get("name")
            chain = (*chain, str(name)) if name is not None else chain
            arrays = [(key, _value(_member(own, key))) for key in sorted(own, key=lambda key: (len(key), key))]
            if arrays and name is None:
                nameless.append(own.name)
            label = "/".join(chain[1:] or chain)  # the first is the model itself, as "functional_1"
            if arrays:
                stored = tuple(
                    StoredArray(f"{label}/{key}", "" if key.isdigit() else key, value) for key, value in arrays
                )
                found.append(StoredLayer(chain, stored))
        for key in group:
            inner = _member(group, key)
            if key != _VARS and hasattr(inner, "keys") and not (group.name == "/" and key in _NO_LAYERS):
                walk(inner, chain)

    walk(file, ())
    if nameless:
        raise CheckpointError(
            f"{str(path)!r} does not have the names of its layers ({nameless[0]!r} is without, for one): an earlier "
            "Keras wrote it. Load it into its model with Keras of today and save it again: model.load_weights(...); "
            "model.save_weights('net.weights.h5')."
        )
    if not found:
        raise CheckpointError(f"{str(path)!r} is a file of HDF5, and holds no weights of Keras.")
    return found


def _layers_of_before(top: Any) -> list[StoredLayer]:
    """Return the layers of a file in which Keras has listed the names of its layers, and of the arrays of each."""
    found: dict[tuple[str, ...], list[StoredArray]] = {}
    for layer in (*_listed(top, "layer_names"), "top_level_model_weights"):
        for name in _listed(top[layer], "weight_names") if layer in top else ():
            *around, own = name.partition(":")[0].split("/")
            chain = tuple(around) if around[:1] == [layer] else (layer, *around)
            label = "/".join((*(around or [layer]), own))
            found.setdefault(chain, []).append(StoredArray(label, own, _value(_member(top[layer], name))))
    return [StoredLayer(chain, tuple(arrays)) for chain, arrays in found.items()]


def _listed(group: Any, name: str) -> list[str]:
    """Return a list of names among the attributes of a group: in one of them, or in several if it is long."""
    parts = [group.attrs[name]] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{name}{len(parts)}"])
    return [each.decode() if isinstance(each, bytes) else str(each) for part in parts for each in part]


def _member(group: Any, key: str) -> Any:
    """Return what a group holds itself: HDF5 can also refer to other files of the machine."""
    import h5py  # noqa: PLC0415  (as above)

    place = group
    for part in key.split("/"):
        if not isinstance(place.get(part, getlink=True), h5py.HardLink):
            raise CheckpointError(f"{group.file.filename!r} has {key!r} in {group.name!r} by a link, or not at all.")
        place = place[part]
    return place


def _value(dataset: Any) -> np.ndarray[Any, Any]:
    if getattr(dataset, "external", None):
        raise CheckpointError(f"{dataset.file.filename!r} keeps {dataset.name!r} in another file.")
    if dataset.attrs.get("dtype") == _BFLOAT16:  # HDF5 has no such type
        return np.array(dataset, tf.bfloat16.as_numpy_dtype)
    return np.array(dataset)
