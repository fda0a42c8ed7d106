"""By whose code an assignment was made: by a function of TF1 such as `tf.compat.v1.assign`, or by a layer of Keras.

All of them, and the methods of a variable such as `variable.assign(...)`, make the same operations. Only where one was
made tells them apart: the functions of TF1 stand in one module of TensorFlow, and layers are called in one of Keras.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Final

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Iterable

_TENSORFLOW: Final = Path(tf.__file__).parent
_FUNCTIONS: Final = str(_TENSORFLOW / "python/ops/state_ops.py")
_WRAPPERS: Final = str(_TENSORFLOW / "python/util")
_LAYER_FILES: Final = tuple(
    f"/{each}.py"
    for each in ("keras/src/layers/layer", "tf_keras/src/engine/base_layer", "tf_keras/src/engine/base_layer_v1")
)


def tf1_function(op: tf.Operation) -> str | None:
    """Return the name of the function of TF1 by which an assignment was made.

    Returns:
        None where it was made by a method of the variable, or by TensorFlow for what else the user has called.
    """
    frames: Iterable[tuple[str, str]] = [(frame.filename, frame.name) for frame in op.traceback]
    frames = [each for each in frames if not each[0].startswith(_WRAPPERS)]
    for (caller, _), (file, name) in itertools.pairwise(frames):
        if file == _FUNCTIONS:
            return None if caller.startswith(str(_TENSORFLOW)) else name
    return None


def made_in_keras_layer(op: tf.Operation) -> bool:
    """Whether an operation was made while a layer of Keras 3 or of tf_keras was being called."""
    return any(
        frame.name == "__call__" and Path(frame.filename).as_posix().endswith(_LAYER_FILES) for frame in op.traceback
    )
