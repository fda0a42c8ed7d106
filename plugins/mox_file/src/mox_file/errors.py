"""The exceptions of `mox.file`. All are OSErrors, as those of `open` and `os` are."""

from __future__ import annotations

import errno
from typing import Any

from mox_core.errors import MoxError

_SHOWN = {"Error": ("Code", "Message"), "ResponseMetadata": ("HTTPStatusCode", "RequestId", "HostId")}


def harmless(response: Any) -> dict[str, Any] | None:
    """Return the parts of a server's answer that name no key: some servers send back what was signed, and by whom."""
    if not isinstance(response, dict):
        return None
    return {
        part: {key: response[part][key] for key in keys if key in response[part]}
        for part, keys in _SHOWN.items()
        if isinstance(response.get(part), dict)
    }


def not_exists(url: str) -> MoxFileNotExistsException:
    """Return the error of a path where nothing is."""
    return MoxFileNotExistsException(errno.ENOENT, "No such file or directory", url)


def is_a_directory(url: str, way_out: str) -> IsADirectoryError:
    """Return the error of a folder where a file is wanted."""
    return IsADirectoryError(errno.EISDIR, f"Is a directory; {way_out}", url)


def not_a_directory(url: str) -> NotADirectoryError:
    """Return the error of a file where a folder is wanted."""
    return NotADirectoryError(errno.ENOTDIR, "Not a directory", url)


class MoxFileNotExistsException(MoxError, FileNotFoundError):  # noqa: N818  (MoXing's names)
    """There is neither a file nor a folder of this name."""


class MoxFileNameDuplicateException(MoxError, FileExistsError):  # noqa: N818
    """The name is taken: a file where a folder is to be, or a folder that is not empty where another is to go."""


class MoxFileRespException(MoxError, OSError):  # noqa: N818
    """A remote store refused something, or could not be reached.

    Attributes:
        resp: the server's answer as botocore has it, without what names keys; None if there was none.
    """

    def __init__(self, *arguments: object, resp: dict[str, Any] | None = None) -> None:
        super().__init__(*arguments)
        self.resp = resp


class ChangedMeanwhile(MoxFileRespException):
    """A file and its copy differ in length: one of them was changed while it was copied."""


class MoxFileReadException(MoxFileRespException):
    """A remote file could not be read."""
