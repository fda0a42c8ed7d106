"""The address on which TensorFlow's server listens: all of the machine by itself, and here one of them.

TensorFlow passes the wildcard address to gRPC, and neither has an option for another one. So while a server starts, the
function `bind` that its library calls is exchanged: the entry of the table by which the library finds it, as linkers of
ELF systems lay it out. The rule to keep: where something is not as expected, nothing is exchanged.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import mmap
import socket
import struct
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIBRARY: Final = "libtensorflow_cc.so"

_STRINGS, _SYMBOLS, _CALLS, _CALLS_SIZE = 5, 6, 23, 2
"""Entries of a library's dynamic section: DT_STRTAB, DT_SYMTAB, DT_JMPREL, DT_PLTRELSZ."""

_MAPPED: Final = ipaddress.ip_address("::ffff:0:0").packed[:12]
"""What an IPv4 address has in front where a socket of IPv6 serves both."""

_WILDCARDS: Final = (bytes(4), bytes(16), _MAPPED + bytes(4))

_PLACES: Final[dict[int, slice]] = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 24)}
"""Where the IP address stands in the structures that `bind` takes."""

_called: list[Any] = []
"""Functions that TensorFlow may still be in when they are exchanged again."""

_BIND: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, use_errno=True)


@contextlib.contextmanager
def server_address(ip: str | None) -> Iterator[bool]:
    """Make TensorFlow's server listen on one address of this machine if it starts in the block.

    Args:
        ip: the address; None for all of them.

    Yields:
        Whether that could be done: otherwise the server listens on all addresses.
    """
    if ip is None:
        yield False
        return
    entry = _entry_of_bind()
    if entry is None:
        tf.get_logger().warning(
            "TensorFlow's server of this process listens on all addresses of this machine, not on %s alone: let "
            "nobody reach its port whom you do not trust.",
            ip,
        )
        yield False
        return
    address = ipaddress.ip_address(ip)
    packed: dict[int, bytes] = {socket.AF_INET6: address.packed}
    if address.version == 4:  # noqa: PLR2004
        packed = {socket.AF_INET: address.packed, socket.AF_INET6: _MAPPED + address.packed}
    libc = ctypes.CDLL(None, use_errno=True)

    def bind(descriptor: int, address: int, length: int) -> int:
        given = bytearray(ctypes.string_at(address, length))
        family = int.from_bytes(given[:2], sys.byteorder)
        place = _PLACES.get(family, slice(0))
        if bytes(given[place]) in _WILDCARDS:
            given[place] = packed.get(family, bytes(given[place]))
        result: int = libc.bind(descriptor, bytes(given), length)
        return result

    function = _BIND(bind)
    _called.append(function)
    before = entry.value
    with _writable(entry):
        entry.value = ctypes.cast(function, ctypes.c_void_p).value or before
    try:
        yield True
    finally:
        with _writable(entry):
            entry.value = before


@cache
def _entry_of_bind() -> ctypes.c_size_t | None:
    """Return the entry of `bind` in the table of TensorFlow's library; None where it is not found."""
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:  # noqa: PLR2004
        return None
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    paths = {line.split(maxsplit=5)[-1] for line in maps if _LIBRARY in line}
    if len(paths) != 1:
        return None
    # A handle of glibc points to `struct link_map`: where the library is, its name, its dynamic section.
    base, _, section = struct.unpack("3Q", ctypes.string_at(ctypes.CDLL(paths.pop())._handle, 24))  # noqa: SLF001
    entries = {}
    while (pair := struct.unpack("2Q", ctypes.string_at(section, 16)))[0]:
        entries[pair[0]] = pair[1]
        section += 16
    if not {_STRINGS, _SYMBOLS, _CALLS, _CALLS_SIZE} <= entries.keys():
        return None
    for offset, info, _ in struct.iter_unpack("QQq", ctypes.string_at(entries[_CALLS], entries[_CALLS_SIZE])):
        (name,) = struct.unpack("I", ctypes.string_at(entries[_SYMBOLS] + 24 * (info >> 32), 4))
        if ctypes.string_at(entries[_STRINGS] + name, 5) == b"bind\0":
            entry = ctypes.c_size_t.from_address(base + offset)
            try:
                with _writable(entry):
                    return entry
            except OSError:  # a system that lets nobody change it
                return None
    return None


@contextlib.contextmanager
def _writable(entry: ctypes.c_size_t) -> Iterator[None]:
    """Make the page of an entry writable for the block: linkers protect it where they are told to."""
    address = ctypes.addressof(entry)
    page = address - address % mmap.PAGESIZE
    ranges = [line.split() for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()]
    writable = any(
        int(first, 16) <= address < int(end, 16) and "w" in access
        for (first, end), access in ((each[0].split("-"), each[1]) for each in ranges)
    )
    libc = ctypes.CDLL(None)
    protect = libc.mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if not writable and protect(page, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE):
        raise OSError("the table of TensorFlow's library cannot be changed")
    try:
        yield
    finally:
        if not writable:
            protect(page, mmap.PAGESIZE, mmap.PROT_READ)
