"""Paths of folders and checkpoints as users give them to `mox.run`, checked before anything is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mox_core.errors import CheckpointError, UsageError
from mox_core.stores.folder import flattened_url, is_remote, local_path

_PATTERN_CHARACTERS: Final = ("[", "\\")
"""What makes a path a pattern for the functions by which TensorFlow finds checkpoints and variables."""


def checked_path(value: object, name: str) -> Path | None:
    """Return the path of an argument on this machine; None where it is not given.

    Raises:
        UsageError: if it is no path, or one that TensorFlow cannot use.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise UsageError(f"{name} is {value!r}; it must be a path, or None.")
    text = local_path(os.fsdecode(value))
    if lost := flattened_url(text):
        raise UsageError(
            f"{name} is {text!r}, with one slash behind {lost!r}: pathlib and os.path.normpath take the other one "
            "away. Give the URL as a string, and join it by '/'."
        )
    if "\0" in text:
        raise UsageError(f"{name} is {text!r}, and no path holds a zero byte.")
    if found := [each for each in _PATTERN_CHARACTERS if each in text]:
        raise UsageError(
            f"{name} is {text!r}, and TensorFlow reads {' and '.join(found)} in a path as part of a pattern: it finds "
            "neither checkpoints nor exported models there. Use a name without."
        )
    return Path(os.path.expanduser(text))  # noqa: PTH111  (Path.expanduser fails for a folder '~x', and for './~x')


def url_of(value: object) -> str | None:
    """Return a path that has been checked, if it is on a remote store."""
    return value.rstrip("/") if isinstance(value, str) and is_remote(value) else None


def checked_checkpoint_path(value: object) -> Path | dict[str, Path] | None:
    """Return what the argument checkpoint_path names: one path, or one for each scope of variables.

    Scopes end in '/': 'teacher' stands for 'teacher/'.

    Raises:
        UsageError: if it is something else.
    """
    if not isinstance(value, Mapping):
        return checked_path(value, "checkpoint_path")
    paths: dict[str, Path] = {}
    for given, each in value.items():
        if not isinstance(given, str) or given.startswith("/"):
            raise UsageError(
                f"checkpoint_path has the key {given!r}; keys are scopes, with which names of variables begin: "
                "checkpoint_path={'teacher/': 'a.ckpt', 'student/': 'b.ckpt'}."
            )
        scope = _scope(given)
        path = checked_path(each, f"checkpoint_path[{given!r}]")
        if path is None:
            raise UsageError(f"checkpoint_path[{given!r}] is {each!r}; it must be a path.")
        if scope in paths:
            raise UsageError(f"checkpoint_path has {scope!r} twice; a scope has one path.")
        paths[scope] = path
    if not paths:
        raise UsageError(f"checkpoint_path is {value!r}, which names nothing to begin with: leave it out.")
    return paths


def checkpoint_urls(value: object) -> str | dict[str, str] | None:
    """Return what of a checkpoint_path that has been checked is on remote stores."""
    if not isinstance(value, Mapping):
        return url_of(value)
    urls = {_scope(given): url for given, each in value.items() if (url := url_of(each)) is not None}
    return urls or None


def as_given(path: Path | Mapping[str, Path] | None, url: str | Mapping[str, str] | None) -> str | None:
    """Return a checkpoint_path as a text, with the URLs of what is on a store."""
    if isinstance(path, Mapping):
        whole = {**path, **(url if isinstance(url, Mapping) else {})}
        return ", ".join(f"{scope}: {each}" for scope, each in whole.items())
    return None if path is None else str(url or path)


def _scope(given: str) -> str:
    return f"{given.rstrip('/')}/" if given else ""


def no_checkpoint(mode: str, log_dir: Path | None) -> CheckpointError:
    """Return the error for a run of a mode that needs a checkpoint, and has none in log_dir nor elsewhere."""
    found_none = f" and found none: looked in log_dir {str(log_dir)!r}, and checkpoint_path is not given"
    why = found_none if log_dir else ", and log_dir and checkpoint_path are not given"
    return CheckpointError(f"{mode} needs a checkpoint{why}. Train first, or pass log_dir or checkpoint_path.")


def is_certainly_empty(log_dir: Path | None) -> bool:
    """Whether there is certainly no checkpoint, as there is no log_dir, or nothing in it."""
    try:
        return log_dir is None or not any(log_dir.iterdir())
    except FileNotFoundError:
        return True
    except OSError:  # of which others say more
        return False
