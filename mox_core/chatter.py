"""What TensorFlow's C++ writes to stderr about each machine while it is imported, left out.

It writes there past Python's logging, in part before any level is read, so its lines are taken out of the stream. Only
those go that say nothing of use: that oneDNN is on, which instructions a CPU has, that a machine without a GPU has no
CUDA. Who sets TF_CPP_MIN_LOG_LEVEL to 0 or 1 gets what TensorFlow gives.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import re
import sys
import threading
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

_ALWAYS: Final = (
    rb"WARNING: All log messages before absl::InitializeLog\(\)",
    rb".*\bport\.cc:\d+\] oneDNN custom operations are on",
    rb".*\bcpu_feature_guard\.cc:\d+\]",
    rb"To enable the following instructions:",
)
_WITHOUT_GPU: Final = (
    rb".*\bcudart_stub\.cc:\d+\]",
    rb".*\bcuda_platform\.cc:\d+\] failed call to cuInit",
    rb".*\bcuda_diagnostics\.cc:\d+\]",
)
_END: Final = b"mox_core.chatter ends\n"


def leave_out() -> None:
    """Leave the lines out when TensorFlow is imported next, unless the user has set a level that asks for them.

    Where it is imported already, what it says at its first look at the devices is left out.
    """
    if os.environ.get(_LEVEL) in _CHATTY:
        return
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        sys.meta_path.insert(0, _Finder())
    elif hasattr(tensorflow, "config"):
        with left_out():
            _look_at_devices(tensorflow)


@contextlib.contextmanager
def left_out() -> Iterator[None]:
    """Leave the lines out of stderr in the block."""
    try:
        stderr = os.dup(2)
    except OSError:  # a process without stderr
        yield
        return
    reader, writer = os.pipe()
    thread = threading.Thread(target=_pass_on, args=(reader, stderr), name="mox-chatter", daemon=True)
    thread.start()
    os.dup2(writer, 2)
    os.close(writer)
    try:
        yield
    finally:
        # Its end, not that of the pipe, which a process that was forked meanwhile would keep open.
        os.write(2, _END)
        os.dup2(stderr, 2)
        thread.join()
        os.close(reader)
        os.close(stderr)


def _pass_on(reader: int, stderr: int) -> None:
    chatter = re.compile(b"|".join((*_ALWAYS, *(() if _has_gpu() else _WITHOUT_GPU))))
    with open(reader, "rb", closefd=False) as lines:
        for line in lines:
            if not chatter.match(line):
                os.write(stderr, line.removesuffix(_END))
            if line.endswith(_END):
                return


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
        with left_out():
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
