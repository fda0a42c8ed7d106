"""What users write for a path: which scheme it has, what of it may be shown, and what cannot be meant."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from mox_core.errors import UsageError

if TYPE_CHECKING:
    Url = str | os.PathLike[str]

_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_FLATTENED: Final = re.compile(r"(s3|s3a|obs|gs|gcs|memory|abfs|abfss|az|hdfs|http|https):/(?!/)")
_USER: Final = re.compile(r"(?<=://)[^/@]*@")


def shown(url: str) -> str:
    """Return a URL as it may stand in an error or a log: without a user's name and password."""
    return _USER.sub("***@", url)


def text_of(url: Url) -> str:
    """Return a path as a string, and refuse what cannot be meant.

    Raises:
        UsageError: for a URL that has lost a slash, or holds a password.
        TypeError: for what is no path.
    """
    text = os.fspath(url)
    if not isinstance(text, str):
        raise TypeError(f"the path is {text!r}; it must be a string such as '/data/a.txt' or 's3://bucket/a.txt'.")
    if not text:
        raise UsageError(
            "the path is ''; it must name a file or a folder, such as '/data/a.txt' or 's3://bucket/a.txt'."
        )
    if _FLATTENED.match(text):
        raise UsageError(
            f"the path is {shown(text)!r}: one slash behind the colon. pathlib and os.path.normpath take the other one "
            "away; keep URLs as strings, and join them by '/' or os.path.join."
        )
    if _USER.search(text):
        raise UsageError(
            f"the path is {shown(text)!r}: a URL must not hold a name and a password, which would end in logs. "
            "Give them to mox.file.set_auth, or by environment variables."
        )
    return text


def scheme_of(text: str) -> str:
    """Return the scheme of a path in lower case; that of a local path is 'file'."""
    found = _SCHEME.match(text)
    return found[1].lower() if found else "file"


def is_remote(url: object) -> bool:
    """Return whether a value is a path on a remote store: a string or path-like with a scheme other than file://."""
    if isinstance(url, os.PathLike):
        url = os.fspath(url)
    return isinstance(url, str) and scheme_of(url) != "file"
