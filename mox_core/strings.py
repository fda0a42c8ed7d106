"""Strings as sequences of integers, for devices and formats without strings (section 4.7 of the manual).

NumPy is imported when a function is called; TensorFlow is not imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mox_core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np


def bytes_to_sequence(bts: bytes | str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the bytes of a string as an array of integers, for `tf.compat.v1.py_func` in `input_fn`.

    Sequences of different lengths can be batched: after `set_shape([None])` mox pads them with zeros.

    Args:
        bts: bytes, in UTF-8 or any other encoding, as TensorFlow passes a string. A str is encoded in UTF-8.

    Returns:
        An int64 array of shape [number of bytes], with values from 0 to 255.

    Raises:
        UsageError: if bts is neither bytes nor a str.
    """
    import numpy as np

    value = bts.encode() if isinstance(bts, str) else bts
    if not isinstance(value, bytes):
        raise UsageError(f"bytes_to_sequence takes bytes or a str, and got {bts!r}.")
    return np.frombuffer(value, np.uint8).astype(np.int64)


def sequence_to_bytes(seq: Any) -> bytes:
    """Return the string of a sequence made by `bytes_to_sequence`, without its padding; for `output_fn`.

    Args:
        seq: an integer array of shape [length], with values from 0 to 255: one row of a batch.

    Returns:
        The bytes without trailing zeros; `.decode()` returns a str if they are UTF-8.

    Raises:
        UsageError: if seq has another rank, dtype or range.
    """
    import numpy as np

    row = np.asarray(seq)
    if row.ndim != 1 or (row.size and (row.dtype.kind not in "iu" or row.min() < 0 or row.max() > 255)):  # noqa: PLR2004
        raise UsageError(
            f"sequence_to_bytes takes one row of integers from 0 to 255, and got {seq!r}. "
            "A batch is gone through row by row."
        )
    return row.astype(np.uint8).tobytes().rstrip(b"\0")
