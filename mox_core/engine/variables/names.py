"""Names of variables: those that mox reserves, and those that the variables of a trace get.

A variable's name is its identity: the same in every mode, process and run. Checkpoints hold these names.
"""

from __future__ import annotations

import collections
from typing import Any, Final

import tensorflow as tf
from attrs import define, field

from mox_core.engine.tf_internals import keras_names, keras_owners

GLOBAL_STEP: Final = "global_step"
POSITIONS: Final = "mox/input_positions"
WORKER_POSITIONS: Final = "mox/worker_positions"
INPUT_BLOCKS: Final = "mox/input_blocks"
INPUT_SIZES: Final = "mox/input_sizes"
SEED: Final = "mox/seed"
CLASSES: Final = "mox/classes"
"""In a checkpoint: which classes the labels stand for that it has learned, as JSON."""

SKIPPED_STEPS: Final = "mox/skipped_steps"
TRAINED: Final = "mox/trained/"
"""The prefix, in a checkpoint, of weights that are trained where others are used: those have the name itself."""

NUM_CLASSES: Final = "mox/num_classes"
LABELS: Final = "mox/labels"
"""The number of classes, and their names, in a checkpoint that `mox weights import` has written."""

HOOKS: Final = "hooks/"
"""The prefix of the variables in which hooks keep their state."""

TRAINING_STATE: Final = (HOOKS, "mox/")
"""The prefixes of all variables that belong to a training and not to its model."""


@define
class TraceNames:
    """What one replica has asked for in a trace.

    Attributes:
        used: how often each name was asked for.
        layers: the Keras layer that asked for a name first, None where none did.
        num_locals: how many variables of the trace alone it has asked for.
        used_locally: how often each name was asked for by one of these; no checkpoint has them.
    """

    used: collections.Counter[str] = field(factory=collections.Counter)
    layers: dict[str, Any] = field(factory=dict)
    num_locals: int = 0
    used_locally: collections.Counter[str] = field(factory=collections.Counter)


def same_name_message(name: str) -> str:
    """Return the text of the error for two variables of one name."""
    return (
        f"model_fn uses two variables {name!r}, and a variable is saved and shared by its name. "
        "Give Keras layers names of their own, as in keras.layers.Dense(..., name='head'), a network a scope, as in "
        "mox.get_model_fn(..., name_scope='teacher'), or make one model under "
        "keras.name_scope('first') outside of model_fn, under tf.compat.v1.variable_scope('first') inside."
    )


def full_name(name: str, asked: keras_owners.NewVariable | None) -> str:
    """Return the name of a new variable with its scopes.

    Args:
        name: what TensorFlow was asked for.
        asked: what Keras is making, None where Keras does not ask.
    """
    if asked:
        scope = tf.compat.v1.get_variable_scope().name
        return f"{scope}/{asked.path}" if scope else asked.path
    name = name.rstrip("/")
    keras_path = keras_names.current_path()
    if keras_path and tf.get_current_name_scope():
        scope = tf.compat.v1.get_variable_scope().name
        return "/".join(part for part in (scope, keras_path, name) if part)
    scope = tf.get_current_name_scope()
    return f"{scope}/{name}" if scope else name


def numbered(name: str, used: collections.Counter[str]) -> str:
    """Return a name that is new in a trace: `x`, then `x_1`, `x_2`, in the order of creation, as TF1 does."""
    used[name] += 1
    return name if used[name] == 1 else numbered(f"{name}_{used[name] - 1}", used)
