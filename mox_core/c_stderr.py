"""Lines that C and C++ code writes to stderr, left out by their beginning.

Not by another file in the place of file descriptor 2: that would stand between a dying process and its last words, and
a terminal would be none any more. C's own `stderr` is replaced, which Python does not use, by a stream that hands each
line on, in the thread that writes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNBUFFERED: Final = 2  # _IONBF
_lock = threading.Lock()
_beginnings: list[bytes] = []  # of all blocks that are open
_pattern = re.compile(b"(?!)")


@contextlib.contextmanager
def left_out(*beginnings: bytes) -> Iterator[None]:
    """Leave out of C's stderr in the block the lines that begin in one of some ways, in all threads.

    Where the C library is not glibc nothing is left out.

    Args:
        beginnings: regular expressions.
    """
    with _lock:
        _beginnings.extend(beginnings)
        _use()
    try:
        yield
    finally:
        with _lock:
            for each in beginnings:
                _beginnings.remove(each)
            _use()


def _use() -> None:
    global _pattern  # noqa: PLW0603  (one for the process, as stderr is)
    _pattern = re.compile(b"|".join(_beginnings) or b"(?!)")
    if streams := _streams():
        variable, original, passing_on = streams
        variable.value = passing_on if _beginnings else original


@functools.cache
def _streams() -> tuple[ctypes.c_void_p, int | None, int | None] | None:
    """Return C's variable `stderr`, its stream, and the stream that leaves lines out; None where that cannot be had."""
    libc: Any = ctypes.CDLL(None)
    try:
        variable, fopencookie = ctypes.c_void_p.in_dll(libc, "stderr"), libc.fopencookie
    except (AttributeError, ValueError):
        return None
    fopencookie.restype = ctypes.c_void_p
    fopencookie.argtypes = [ctypes.c_void_p, ctypes.c_char_p, _Functions]
    libc.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    stream = fopencookie(None, b"w", _Functions(None, _write, None, None))
    if not stream or libc.setvbuf(stream, None, _UNBUFFERED, 0):
        return None
    return variable, variable.value, stream


def _pass_on(_cookie: int | None, start: int, size: int) -> int:
    lines = ctypes.string_at(start, size).splitlines(keepends=True)
    kept = b"".join(line for line in lines if not _pattern.match(line))
    with contextlib.suppress(OSError):  # there may be nobody who reads
        os.write(2, kept)
    return size


_WRITE: Final = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_write: Final = _WRITE(_pass_on)  # as long as the process: the stream is never closed


class _Functions(ctypes.Structure):
    """What `fopencookie` needs: read, write, seek, close."""

    _fields_ = (
        ("read", ctypes.c_void_p),
        ("write", _WRITE),
        ("seek", ctypes.c_void_p),
        ("close", ctypes.c_void_p),
    )
