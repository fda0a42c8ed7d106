"""What mox-tfds offers: names only, so that listing them imports neither TensorFlow nor TensorFlow Datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import DatasetMeta, DatasetOffer, hookimpl
from mox_tfds.sizes import PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_datasets() -> Iterator[DatasetOffer]:
    """Offer data sets of TensorFlow Datasets by name, any other one by `tfds`, and files of Hugging Face."""
    for name, (num_classes, sizes, summary) in PUBLISHED.items():
        meta = DatasetMeta(num_classes=num_classes, splits_to_sizes=sizes)
        target = f"mox_tfds.named:{name}"
        yield DatasetOffer(name, target, summary=f"{summary}, as TensorFlow Datasets prepares it", meta=meta)
    unknown = DatasetMeta(num_classes=0, splits_to_sizes={})
    yield DatasetOffer(
        "tfds", "mox_tfds.prepared:tfds", summary="whatever TensorFlow Datasets has prepared in a folder", meta=unknown
    )
    yield DatasetOffer(
        "parquet",
        "mox_tfds.columns:parquet",
        summary="Parquet or Arrow files, as of Hugging Face's datasets",
        meta=unknown,
    )
