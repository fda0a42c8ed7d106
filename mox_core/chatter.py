"""What TensorFlow's C++ writes to stderr and nobody can use, left out.

It writes there past Python's logging, in part past any level. While TensorFlow is imported it says that oneDNN is on,
which instructions a CPU has, that a machine without a GPU has no CUDA; while images are read, libjpeg says of each file
with an odd place what it found there, without the name of the file. mox names what it leaves out, once. Who sets
TF_CPP_MIN_LOG_LEVEL to 0 or 1 gets what TensorFlow gives.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_LEVEL: Final = "TF_CPP_MIN_LOG_LEVEL"
_CHATTY: Final = ("0", "1")
_INFO_AND_WARNINGS, _INFO = "2", "1"
"""What the level leaves out while a run goes on: also the words of its C++ for each image that cannot be decoded."""

_OF_START: Final = (
    rb"WARNING: All log messages before absl::InitializeLog\(\)",
    rb".*\bport\.cc:\d+\] oneDNN custom operations are on",
    rb".*\bcpu_feature_guard\.cc:\d+\]",
    rb"To enable the following instructions:",
)
_OF_START_WITHOUT_GPU: Final = (
    rb".*\bcudart_stub\.cc:\d+\]",
    rb".*\bcuda_platform\.cc:\d+\] failed call to cuInit",
    rb".*\bcuda_diagnostics\.cc:\d+\]",
)
_OF_IMAGES: Final = (
    rb".*\b(local_rendezvous\.cc:\d+\] Local rendezvous is aborting|op_kernel\.cc:\d+\] OP_REQUIRES failed at)",
    # The messages of libjpeg about the content of a file, see its jerror.h.
    rb"(Bogus|Corrupt JPEG data|Component index|Did not expect more than one scan|Empty JPEG image|Huffman table 0x)",
    rb"(Improper call to JPEG library|Inconsistent progression|Maximum supported image dimension)",
    rb"Invalid (JPEG|SOS|component|crop|progressive|scan)",
    rb"(Not a JPEG file|Premature end of|Quantization table 0x|Sampling factors too large|Too many color components)",
    rb"Unsupported (JPEG|marker|color conversion|arithmetic)",
)


def leave_out() -> None:
    """Leave the lines out when TensorFlow is imported next, unless the user has set a level that asks for them.

    Where it is imported already, what it says at its first look at the devices is left out.
    """
    if _all_is_wanted():
        return
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        sys.meta_path.insert(0, _Finder())
    elif hasattr(tensorflow, "config"):
        with _of_start():
            _look_at_devices(tensorflow)


@contextlib.contextmanager
def of_images() -> Iterator[None]:
    """Leave out of stderr in the block what libjpeg says of images, and TensorFlow of what could not be read."""
    if _all_is_wanted():
        yield
        return
    with _left_out(*_OF_IMAGES):
        yield


def _of_start() -> contextlib.AbstractContextManager[None]:
    return _left_out(*_OF_START, *(() if _has_gpu() else _OF_START_WITHOUT_GPU))


def _left_out(*beginnings: bytes) -> contextlib.AbstractContextManager[None]:
    from mox_core.c_stderr import left_out  # noqa: PLC0415  (it brings ctypes, which importing mox does without)

    return left_out(*beginnings)


def _all_is_wanted() -> bool:
    return os.environ.get(_LEVEL) in _CHATTY


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as ever, to be imported with the lines left out."""

    _asking_others = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002  (the interface of finders)
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname != "tensorflow" or self._asking_others:
            return None
        self._asking_others = True
        try:
            found = importlib.util.find_spec(fullname)
        finally:
            self._asking_others = False
        if found is not None and found.loader is not None:
            found.loader = _Loader(found.loader, self)
        return found


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, finder: _Finder) -> None:
        self._loader, self._finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        sys.meta_path.remove(self._finder)
        module.__loader__ = module.__spec__.loader = self._loader  # type: ignore[union-attr]
        os.environ.setdefault(_LEVEL, _level())
        with _of_start():
            self._loader.exec_module(module)
            _look_at_devices(module)


def _look_at_devices(tensorflow: ModuleType) -> None:
    """Let TensorFlow look for CUDA: it does so once, and says in vain what it did not find."""
    if not _has_gpu():
        tensorflow.config.list_physical_devices()


def _level() -> str:
    return _INFO if _has_gpu() else _INFO_AND_WARNINGS


def _has_gpu() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*"))
