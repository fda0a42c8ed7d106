"""What mox-tfrecord offers: names only, so that listing them imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import ApiOffer, CommandOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_api() -> Iterator[ApiOffer]:
    """Offer the data sets of records, and what writes them."""
    yield ApiOffer(
        "write_image_classification_tfrecords",
        "mox_tfrecord.writing:write_image_classification_tfrecords",
        summary="turns a folder of class folders into sharded TFRecords, without re-encoding JPEGs",
    )


@hookimpl
def mox_commands() -> Iterator[CommandOffer]:
    """Offer the command that writes and inspects records."""
    yield CommandOffer(
        "tfrecord",
        "mox_tfrecord.commands:main",
        summary="write a folder of images as records, inspect records",
    )
