"""Weights that TensorFlow has written: checkpoints by the names of variables, those of objects, and SavedModels."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from mox_core.engine.tf_internals import object_graphs
from mox_core.engine.weights.stored import StoredWeights, by_full_name
from mox_core.errors import CheckpointError
from mox_core.serving.description import read_description

if TYPE_CHECKING:
    from pathlib import Path

DAMAGE = (tf.errors.OpError, IndexError, ValueError, RuntimeError, OSError)
"""What TensorFlow raises for a checkpoint that is cut off or overwritten: an IndexError for an empty index, say."""
_MODELS = ("saved_model.pb", "saved_model.pbtxt")
_NOT_OF_MODELS = ("save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH")


def is_saved_model(folder: Path) -> bool:
    """Whether a folder is a SavedModel."""
    return any((folder / name).is_file() for name in _MODELS)


def read_saved_model(folder: Path) -> StoredWeights:
    """Read the variables of a SavedModel, and the names of its classes where mox has exported it.

    Raises:
        CheckpointError: if it is damaged, or has no variables.
    """
    prefix = folder / "variables" / "variables"
    if not prefix.with_name("variables.index").is_file():
        raise CheckpointError(
            f"{str(folder)!r} is a SavedModel without variables: its weights are constants of the graph, under names "
            "that no checkpoint has. Export it with its variables."
        )
    values = read_values(str(prefix))
    kind = "a SavedModel of TensorFlow 2" if object_graphs.has_one(values) else "a SavedModel of TensorFlow 1"
    return _weights(str(folder), kind, values, _labels(folder))


def of_objects(prefix: str, values: dict[str, Any]) -> StoredWeights:
    """Return the weights of a checkpoint whose keys are places in objects: of `tf.train.Checkpoint(model=model)`."""
    return _weights(prefix, "a checkpoint of objects", values, ())


def of_names(prefix: str, values: dict[str, Any]) -> StoredWeights:
    """Return the weights of a checkpoint whose keys are names of variables."""
    return StoredWeights(prefix, "a checkpoint", by_full_name(sorted(values.items())), ordered=False, counted=True)


def read_values(prefix: str) -> dict[str, Any]:
    """Return every tensor of a checkpoint by its key, which also checks it.

    Raises:
        CheckpointError: if it is damaged.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except DAMAGE as error:
        first_line = str(error).splitlines()[0] if str(error) else ""
        raise CheckpointError(f"checkpoint {prefix!r} is damaged ({type(error).__name__}: {first_line}).") from error


def _weights(path: str, kind: str, values: dict[str, Any], labels: tuple[str, ...]) -> StoredWeights:
    of_objects = object_graphs.has_one(values)
    named = _by_full_names(values) if of_objects else values
    kept = sorted((name, value) for name, value in named.items() if not name.startswith(_NOT_OF_MODELS))
    return StoredWeights(path, kind, by_full_name(kept), ordered=False, counted=of_objects, labels=labels)


def _by_full_names(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a checkpoint of objects by the names of variables, by their places where these are alike.

    Layers in layers of a subclassed model are all called alike there. An export of Keras has each variable twice.
    """
    names = object_graphs.full_names(values)
    keys: dict[str, list[str]] = defaultdict(list)
    for key in values:
        keys[names.get(key, key)].append(key)
    found: dict[str, Any] = {}
    for name, each in keys.items():
        same = all(np.array_equal(values[each[0]], values[key]) for key in each[1:])
        found |= {name: values[each[0]]} if same else {key: values[key] for key in each}
    return found


def _labels(folder: Path) -> tuple[str, ...]:
    try:
        classes = read_description(folder).classes
    except ValueError:
        return ()
    return classes.names if classes else ()
