"""`mox.file`: files on local disks, S3, OBS and whatever fsspec reaches, by one API."""

from __future__ import annotations

from mox_file import file_io
from mox_file.auth import set_auth
from mox_file.background import background_sync_copy
from mox_file.changing import make_dirs, mk_dir, remove, rename
from mox_file.copying import copy, copy_parallel
from mox_file.errors import (
    MoxFileNameDuplicateException,
    MoxFileNotExistsException,
    MoxFileReadException,
    MoxFileRespException,
)
from mox_file.looking import exists, get_size, glob, is_directory, list_directory, scan_dir, stat, walk
from mox_file.opened import File, append, append_remote, read, write
from mox_file.shifting import shift

__all__ = [
    "File",
    "MoxFileNameDuplicateException",
    "MoxFileNotExistsException",
    "MoxFileReadException",
    "MoxFileRespException",
    "append",
    "append_remote",
    "background_sync_copy",
    "copy",
    "copy_parallel",
    "exists",
    "file_io",
    "get_size",
    "glob",
    "is_directory",
    "list_directory",
    "make_dirs",
    "mk_dir",
    "read",
    "remove",
    "rename",
    "scan_dir",
    "set_auth",
    "shift",
    "stat",
    "walk",
    "write",
]
