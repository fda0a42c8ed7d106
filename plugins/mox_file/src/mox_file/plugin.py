"""What mox-file offers: names only, so that listing them imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import ApiOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_api() -> Iterator[ApiOffer]:
    """Offer the module of files under `mox.file`."""
    yield ApiOffer(
        name="file",
        target="mox_file:file",
        summary="files on local disks, S3, OBS and whatever fsspec reaches: File, read, write, copy_parallel, ...",
    )
