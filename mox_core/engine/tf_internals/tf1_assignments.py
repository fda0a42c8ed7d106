"""Assignments that the user's code has made by a function of TF1, `tf.compat.v1.assign(...)` for instance.

`variable.assign(...)`, TF2's, makes the same operation. Only where it was made tells them apart: the functions of TF1
stand in one module of TensorFlow.
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
