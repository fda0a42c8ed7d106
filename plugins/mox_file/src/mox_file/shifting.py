"""`shift("os", "mox")`: Python's own functions take URLs, too, until `shift("mox", "os")`.

The rule to keep: a path without a scheme goes to Python's function as before.
"""

from __future__ import annotations

import builtins
import functools
import glob
import io
import os
import shutil
import stat as modes
import threading
from typing import TYPE_CHECKING, Any, Final

from mox_core.errors import UsageError
from mox_file import changing, copying, looking, opened
from mox_file.urls import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable

_LOCK: Final = threading.Lock()
_originals: dict[tuple[Any, str], Any] = {}


def shift(from_module: str, to_module: str) -> None:
    """Let `open`, `os`, `os.path`, `shutil` and `glob` take URLs, or take that back.

    Args:
        from_module: "os"; or "mox", to take it back.
        to_module: "mox"; or "os".
    """
    if (from_module, to_module) == ("os", "mox"):
        _replace()
    elif (from_module, to_module) == ("mox", "os"):
        _restore()
    else:
        raise UsageError(
            f"mox.file.shift was called with {from_module!r} and {to_module!r}; it must be shift('os', 'mox'), or "
            "shift('mox', 'os'), which takes it back."
        )


def _replace() -> None:
    with _LOCK:
        if _originals:
            return
        for module, name, instead in _table():
            original = getattr(module, name)
            _originals[module, name] = original
            setattr(module, name, _either(original, instead))


def _restore() -> None:
    with _LOCK:
        for (module, name), original in _originals.items():
            setattr(module, name, original)
        _originals.clear()


def _either(original: Callable[..., Any], instead: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does `instead` where one of the first two arguments is a URL."""

    @functools.wraps(original)
    def function(*arguments: Any, **options: Any) -> Any:
        paths = (*arguments[:2], *(options.get(name) for name in ("path", "src", "dst", "file", "name", "top")))
        if any(map(is_remote, paths)):
            return instead(*arguments, **options)
        return original(*arguments, **options)

    return function


def _table() -> list[tuple[Any, str, Callable[..., Any]]]:
    return [
        (builtins, "open", _open),
        (io, "open", _open),
        (os, "listdir", looking.list_directory),
        (os, "scandir", looking.scan_dir),
        (os, "walk", looking.walk),
        (os, "stat", lambda path, **_: _stat(path)),
        (os, "mkdir", _mkdir),
        (os, "makedirs", _makedirs),
        (os, "remove", lambda path, **_: _remove(path)),
        (os, "unlink", lambda path, **_: _remove(path)),
        (os, "rename", lambda src, dst, **_: changing.rename(src, dst)),
        (os, "replace", lambda src, dst, **_: changing.rename(src, dst)),
        (os.path, "exists", looking.exists),
        (os.path, "lexists", looking.exists),
        (os.path, "isfile", looking.is_file),
        (os.path, "isdir", looking.is_directory),
        (os.path, "islink", lambda _path: False),
        (os.path, "getsize", lambda path: looking.stat(path).length),
        (os.path, "getmtime", lambda path: looking.stat(path).mtime_nsec / 1e9),
        (os.path, "abspath", os.fspath),
        (os.path, "isabs", lambda _path: True),
        (glob, "glob", lambda pathname, **_: looking.glob(pathname)),
        (glob, "iglob", lambda pathname, **_: iter(looking.glob(pathname))),
        (shutil, "copy", lambda src, dst, **_: _copy(src, dst)),
        (shutil, "copy2", lambda src, dst, **_: _copy(src, dst)),
        (shutil, "copyfile", lambda src, dst, **_: _copy(src, dst)),
        (shutil, "copytree", _copytree),
        (shutil, "rmtree", _rmtree),
        (shutil, "move", lambda src, dst, *_: _move(src, dst)),
    ]


def _open(file: Any, mode: str = "r", *_arguments: Any, encoding: str | None = None, **_options: Any) -> opened.File:
    if encoding is not None and encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        raise UsageError(f"encoding is {encoding!r}; remote files are opened as UTF-8, or with 'b' as bytes.")
    return opened.File(file, mode)


def _stat(path: Any) -> os.stat_result:
    found = looking.stat(path)
    mode = (modes.S_IFDIR | 0o755) if found.is_directory else (modes.S_IFREG | 0o644)
    seconds = found.mtime_nsec // 1_000_000_000
    return os.stat_result((mode, 0, 0, 1, 0, 0, found.length, seconds, seconds, seconds))


def _mkdir(path: Any, *_arguments: Any, **_options: Any) -> None:
    _check_free(path)
    changing.mk_dir(path)


def _makedirs(name: Any, mode: int = 0o777, exist_ok: bool = False) -> None:  # noqa: ARG001, FBT001, FBT002
    if not (exist_ok and looking.is_directory(name)):
        _check_free(name)
    changing.make_dirs(name)


def _check_free(path: Any) -> None:
    if looking.exists(path):
        raise FileExistsError(f"{os.fspath(path)!r} exists")


def _remove(path: Any) -> None:
    if looking.is_directory(path):
        raise IsADirectoryError(f"{os.fspath(path)!r} is a folder")
    changing.remove(path)


def _copy(source: Any, target: Any) -> Any:
    copying.copy(source, target)
    return target


def _copytree(src: Any, dst: Any, *_arguments: Any, dirs_exist_ok: bool = False, **options: Any) -> Any:
    if _arguments or options:
        raise UsageError("shutil.copytree of a URL takes dirs_exist_ok, and no other option.")
    if not dirs_exist_ok:
        _check_free(dst)
    copying.copy_parallel(src, dst)
    return dst


def _rmtree(path: Any, ignore_errors: bool = False, *_arguments: Any, **_options: Any) -> None:  # noqa: FBT001, FBT002
    try:
        if not looking.is_directory(path):
            raise NotADirectoryError(f"{os.fspath(path)!r} is no folder")
        changing.remove(path, recursive=True)
    except OSError:
        if not ignore_errors:
            raise


def _move(source: Any, target: Any) -> Any:
    if looking.is_directory(target):
        target = f"{os.fspath(target).rstrip('/')}/{os.fspath(source).rstrip('/').rpartition('/')[2]}"
    changing.rename(source, target)
    return target
