"""Strings as numbers, for devices and formats that know no strings: the manual's 4.7.

No TensorFlow and no NumPy is imported here before a function is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mox_core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np


def bytes_to_sequence(bts: bytes | str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Returns the bytes of a string as numbers, for `tf.compat.v1.py_func` in `input_fn`.

    Sequences of different lengths get into one batch: with `set_shape([None])` mox fills them up with zeros.

    Args:
        bts: what TensorFlow gives for a string: bytes, of UTF-8 or not. A str is taken in UTF-8.

    Returns:
        One int64 number, 0 to 255, for each byte.

    Raises:
        UsageError: where it is no string.
    """
    import numpy as np

    value = bts.encode() if isinstance(bts, str) else bts
    if not isinstance(value, bytes):
        raise UsageError(f"bytes_to_sequence takes bytes or a str, and got {bts!r}.")
    return np.frombuffer(value, np.uint8).astype(np.int64)


def sequence_to_bytes(seq: Any) -> bytes:
    """Returns the string whose bytes stand in a sequence, without the zeros that fill it up; for `output_fn`.

    Args:
        seq: a row of what `bytes_to_sequence` and batching have made: integers, 0 to 255.

    Returns:
        The bytes that `bytes_to_sequence` was given; `.decode()` makes a str of a UTF-8 name.

    Raises:
        UsageError: where it is no such row.
    """
    import numpy as np

    row = np.asarray(seq)
    if row.ndim != 1 or (row.size and (row.dtype.kind not in "iu" or row.min() < 0 or row.max() > 255)):  # noqa: PLR2004
        raise UsageError(
            f"sequence_to_bytes takes one row of integers from 0 to 255, and got {seq!r}. "
            "A batch is gone through row by row."
        )
    return row.astype(np.uint8).tobytes().rstrip(b"\0")
