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
    yield ExporterOffer(
        name="FROZEN_PB",
        target="mox_export.frozen_pb:export",
        summary="one file with a graph whose weights are constants, as tf.compat.v1.import_graph_def takes it",
    )
    yield ExporterOffer(
        name="TFLITE",
        target="mox_export.tflite:export",
        summary="one file for LiteRT (TensorFlow Lite), the runtime for phones and small devices",
    )
    yield ExporterOffer(
        name="ONNX",
        target="mox_export.onnx:export",
        summary="one file for ONNX Runtime and its like; needs mox-export[onnx]",
    )
