"""What mox-file offers: names only, so that listing them imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mox_core.plugins import ApiOffer, StoreOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


_SCHEMES: Final = {
    "s3": "Amazon S3, MinIO and others that speak S3",
    "s3a": "the same as s3",
    "obs": "OBS of Huawei Cloud",
    "gs": "Google Cloud Storage",
    "gcs": "the same as gs",
    "abfs": "Azure Data Lake",
    "abfss": "the same as abfs",
    "az": "Azure Blob Storage",
    "hdfs": "Hadoop",
    "webhdfs": "Hadoop, over HTTP",
    "oss": "OSS of Alibaba Cloud",
    "oci": "Oracle Cloud",
    "sftp": "a folder of another machine, over SSH",
    "ftp": "an FTP server",
    "smb": "a Windows share",
    "memory": "the memory of this process, for tests",
}


@hookimpl
def mox_stores() -> Iterator[StoreOffer]:
    """Offer what fsspec reaches: it says itself which library a scheme needs."""
    for scheme, summary in _SCHEMES.items():
        yield StoreOffer(name=scheme, target="mox_file.store:Folder", summary=summary)


@hookimpl
def mox_api() -> Iterator[ApiOffer]:
    """Offer the module of files under `mox.file`."""
    yield ApiOffer(
        name="file",
        target="mox_file:file",
        summary="files on local disks, S3, OBS and whatever fsspec reaches: File, read, write, copy_parallel, ...",
    )
