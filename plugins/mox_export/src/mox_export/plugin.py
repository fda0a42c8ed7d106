"""What mox-export offers: names only, so that listing them imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import ExporterOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_exporters() -> Iterator[ExporterOffer]:
    """Offer the kinds of exported models."""
    yield ExporterOffer(
        name="TF_SERVING",
        target="mox_export.saved_model:export",
        summary="a SavedModel, as TensorFlow Serving and tf.saved_model.load take it",
    )
