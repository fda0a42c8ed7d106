"""What mox-datasets-raw offers: names only, so that listing them imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import ApiOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_api() -> Iterator[ApiOffer]:
    """Offer the data sets of image folders and of arrays."""
    yield ApiOffer(
        name="ArrayDataset",
        target="mox_datasets_raw.arrays:ArrayDataset",
        summary="reads arrays in memory: of NumPy, pandas or SciPy, a row for each sample",
    )
    yield ApiOffer(
        name="ImageClassificationRawMetadata",
        target="mox_datasets_raw.classification:ImageClassificationRawMetadata",
        summary="the classes and the number of images in a folder with one folder for each class",
    )
    yield ApiOffer(
        name="ImageClassificationRawDataset",
        target="mox_datasets_raw.classification:ImageClassificationRawDataset",
        summary="reads the images of one class each",
    )
    yield ApiOffer(
        name="MultilabelClassificationRawMetadata",
        target="mox_datasets_raw.multilabel:MultilabelClassificationRawMetadata",
        summary="the classes and the number of images in a folder with a label file for each image",
    )
    yield ApiOffer(
        name="MultilabelClassificationRawDataset",
        target="mox_datasets_raw.multilabel:MultilabelClassificationRawDataset",
        summary="reads images that may belong to several classes",
    )
    yield ApiOffer(
        name="AsyncRawGenerator",
        target="mox_datasets_raw.reading:AsyncRawGenerator",
        summary="the reader_class of MoXing's scripts; files are read in parallel without it",
    )
    yield ApiOffer(
        name="split_image_classification_dataset",
        target="mox_datasets_raw.splitting:split_image_classification_dataset",
        summary="copies a folder of images into folders for training and evaluation",
    )
