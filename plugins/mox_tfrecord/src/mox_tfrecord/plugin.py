"""What mox-tfrecord offers: names only, so that listing them imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import ApiOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_api() -> Iterator[ApiOffer]:
    """Offer the data sets of records."""
    yield from ()
