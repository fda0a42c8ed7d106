"""An open file, and whole contents at once."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from mox_core.errors import UsageError
from mox_file.places import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from mox_file.urls import Url

_CHUNK = 8 * 1024 * 1024


class File:
    """A file on a local disk or a remote store, as `open` returns one.

    Text is UTF-8. A remote file that is written appears when it is closed; one that is changed in place or appended to
    (`a`, `+`) is a local copy meanwhile, which `flush` and `close` upload.

    Args:
        name: its path.
        mode: r, w or a, with or without + and b, in any order.
    """

    def __init__(self, name: Url, mode: str = "r") -> None:
        self._mode = _checked(mode)
        self._place = place_of(name)
        self._name = os.fspath(name)
        opened: Any = self._place.open(self._mode)
        self._bytes: Any = opened
        if isinstance(opened, io.TextIOWrapper):
            self._bytes = opened.buffer
        elif "b" not in self._mode:
            opened = io.TextIOWrapper(opened, encoding="utf-8")
        self._file: Any = opened
        self._is_closed = False

    @property
    def name(self) -> str:
        """The path as it was given."""
        return self._name

    @property
    def mode(self) -> str:
        """The mode, in the order of `open`."""
        return self._mode

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._is_closed

    def read(self, n: int | None = -1) -> Any:
        """Return n characters or bytes from here; by default all."""
        with self._reading():
            return self._file.read(-1 if n is None else n)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with bytes from here, and return how many there were."""
        with self._reading():
            return int(self._file.readinto(buffer))

    def readline(self, size: int | None = -1) -> Any:
        """Return the rest of the line, or `size` of it."""
        with self._reading():
            return self._file.readline(-1 if size is None else size)

    def readlines(self, hint: int = -1) -> list[Any]:
        """Return the lines from here."""
        with self._reading():
            return list(self._file.readlines(hint))

    def next(self) -> Any:
        """Return the next line."""
        return next(self)

    def write(self, data: Any) -> int:
        """Write a text, or bytes, and return its length."""
        with self._place.errors():
            return int(self._file.write(data))

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write several texts, or bytes; none gets a line break of its own."""
        with self._place.errors():
            self._file.writelines(lines)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it."""
        with self._place.errors():
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the place that is read or written next."""
        return int(self._file.tell())

    def truncate(self, size: int | None = None) -> int:
        """Cut the file off."""
        with self._place.errors():
            return int(self._file.truncate(size))

    def size(self) -> int:
        """Return the bytes of the file, with what was written so far."""
        if self.writable():
            with self._place.errors():
                self._file.flush()
            if not self.seekable():
                return int(self._bytes.tell())
        if self.seekable():
            here = self._file.tell()
            end = int(self._bytes.seek(0, os.SEEK_END))
            self._file.seek(here)
            return end
        return self._place.existing().size

    def flush(self) -> None:
        """Write what is in buffers: to the disk, or, of a file with `a` or `+`, to the remote store."""
        with self._place.errors():
            self._file.flush()

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._is_closed = True  # said here: not every file of fsspec says so
        with self._place.errors():
            self._file.close()

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return bool(self._file.isatty())

    def readable(self) -> bool:
        """Return whether it can be read."""
        return self._mode.startswith("r") or "+" in self._mode

    def writable(self) -> bool:
        """Return whether it can be written."""
        return not self._mode.startswith("r") or "+" in self._mode

    def seekable(self) -> bool:
        """Return whether one can go to another place in it."""
        return bool(self._file.seekable())

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._reading():
            line = self._file.readline()
        if not line:
            raise StopIteration
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        """Return what else the open file has, such as `peek`, `fileno` and `encoding`."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._file, name)

    def __repr__(self) -> str:
        return f"<mox.file.File {self._name!r} mode={self._mode!r}>"

    def _reading(self) -> Any:
        if not self.readable():
            raise io.UnsupportedOperation(f"{self._name!r} is open for mode {self._mode!r}, which does not read")
        return self._place.errors(reading=True)


def read(url: Url, client_id: Any = None, binary: bool = False, exist_check: Any = None) -> Any:  # noqa: ARG001, FBT001, FBT002
    """Return the whole content of a file: a text in UTF-8, or bytes.

    Args:
        url: its path.
        client_id: MoXing's; of no effect, except that a mode with a 'b' in its place, as for `open`, means bytes.
        binary: True: bytes.
        exist_check: MoXing's, of no effect: a file that does not exist is always an error.
    """
    as_bytes = binary or (isinstance(client_id, str) and set(client_id) <= set("rbt") and "b" in client_id)
    with File(url, "rb") as file:
        data = file.read()
    if as_bytes:
        return data
    try:
        return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8").read()
    except UnicodeDecodeError as error:
        error.reason += f"; {os.fspath(url)!r} is no text in UTF-8: mox.file.read(..., binary=True) returns bytes"
        raise


def write(url: Url, data: str | bytes, binary: bool = False) -> None:  # noqa: ARG001, FBT001, FBT002
    """Write a file anew, from a text (in UTF-8) or bytes; the type of `data` says which, whatever `binary` is."""
    _put(url, "wb", data)


def append(url: Url, data: str | bytes, binary: bool = False) -> None:  # noqa: ARG001, FBT001, FBT002
    """Add a text (in UTF-8) or bytes to the end of a file, which is made if it does not exist."""
    _put(url, "ab", data)


def append_remote(src_url: Url, dst_url: Url) -> None:
    """Add the content of one file to the end of another, which is made if it does not exist."""
    if place_of(src_url).is_same_as(place_of(dst_url)):
        raise UsageError(f"mox.file.append_remote cannot append {os.fspath(src_url)!r} to itself.")
    with File(src_url, "rb") as source, File(dst_url, "ab") as target:
        while data := source.read(_CHUNK):
            target.write(data)


def _put(url: Url, mode: str, data: str | bytes) -> None:
    if not isinstance(data, str | bytes | bytearray | memoryview):
        raise TypeError(
            f"what is to be written to {os.fspath(url)!r} is {type(data).__name__}; it must be str or bytes."
        )
    with File(url, mode) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


def _checked(mode: Any) -> str:
    kinds = [letter for letter in "rwa" if isinstance(mode, str) and letter in mode]
    if len(kinds) != 1 or len(set(mode)) != len(mode) or set(mode) - set("rwa+bt") or {"b", "t"} <= set(mode):
        raise UsageError(f"the mode of mox.file.File is {mode!r}; it must be r, w or a, with or without + and b.")
    return kinds[0] + ("+" if "+" in mode else "") + ("b" if "b" in mode else "")
