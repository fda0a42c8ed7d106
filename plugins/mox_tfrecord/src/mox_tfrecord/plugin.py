"""What mox-tfrecord offers: names only, so that listing them imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import ApiOffer, CommandOffer, DatasetMeta, DatasetOffer, hookimpl
from mox_tfrecord.sizes import NUM_CLASSES, SIZES

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_api() -> Iterator[ApiOffer]:
    """Offer the data sets of records, and the function that writes them."""
    yield ApiOffer(
        "get_tfrecord",
        "mox_tfrecord.handled:get_tfrecord",
        summary="reads records by the features that they hold and handlers that make items of them",
    )
    yield ApiOffer(
        "tfexample_decoder",
        "mox_tfrecord.tfexample_decoder:tfexample_decoder",
        summary="the handlers Tensor and Image for get_tfrecord, as slim has them",
    )
    yield ApiOffer(
        "BaseTFRecordMetadata",
        "mox_tfrecord.datasets:BaseTFRecordMetadata",
        summary="the files of a data set of records, and how many records they hold",
    )
    yield ApiOffer(
        "BaseTFRecordDataset",
        "mox_tfrecord.datasets:BaseTFRecordDataset",
        summary="what a data set of records of one's own is derived from",
    )
    yield ApiOffer(
        "ImageClassificationTFRecordMetadata",
        "mox_tfrecord.classification:ImageClassificationTFRecordMetadata",
        summary="the files and the classes of images in records",
    )
    yield ApiOffer(
        "ImageClassificationTFRecordDataset",
        "mox_tfrecord.classification:ImageClassificationTFRecordDataset",
        summary="reads images of one class each from records",
    )
    yield ApiOffer(
        "ProgressiveImagenetDataset",
        "mox_tfrecord.progressive:ProgressiveImagenetDataset",
        summary="batches of images whose size grows at given steps of a training",
    )
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


@hookimpl
def mox_datasets() -> Iterator[DatasetOffer]:
    """Offer published data sets, in the files in which they are published."""
    summaries = {
        "cifar10": "small photographs of ten kinds, 32x32, from binary batches, those of Python, or records",
        "flowers": "photographs of five kinds of flowers, from records",
        "imagenet": "ILSVRC 2012 from records, with slim's labels 1 to 1000",
        "mnist": "handwritten digits, 28x28 grey, from idx files or records",
    }
    for name, summary in summaries.items():
        meta = DatasetMeta(num_classes=NUM_CLASSES[name], splits_to_sizes=SIZES[name])
        yield DatasetOffer(name, f"mox_tfrecord.named:{name}", summary=summary, meta=meta)
