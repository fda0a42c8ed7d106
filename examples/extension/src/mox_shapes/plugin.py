"""What mox-shapes offers to mox: names only, so that listing them imports no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import (
    ApiOffer,
    AugmentationOffer,
    DatasetMeta,
    DatasetOffer,
    ExporterOffer,
    NetworkMeta,
    NetworkOffer,
    OptimizerOffer,
    OptimizerWrapperOffer,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

META = DatasetMeta(num_classes=3, splits_to_sizes={"train": 300, "eval": 60})


@hookimpl
def mox_networks() -> Iterator[NetworkOffer]:
    """Offer the network."""
    yield NetworkOffer(
        name="shapes_mlp",
        target="mox_shapes.network:shapes_mlp",
        summary="one hidden layer, for grey images of one size",
        meta=NetworkMeta(default_image_size=16, default_labels_offset=0),
    )


@hookimpl
def mox_augmentations() -> Iterator[AugmentationOffer]:
    """Offer the augmentation."""
    yield AugmentationOffer(
        name="shift",
        target="mox_shapes.augmentation:shift",
        summary="a part of the image: a random one in TRAIN, else the centre",
    )


@hookimpl
def mox_optimizers() -> Iterator[OptimizerOffer]:
    """Offer the optimizer."""
    yield OptimizerOffer(
        name="lion",
        target="mox_shapes.optimizer:Lion",
        summary="Lion (Chen et al. 2023, arXiv 2302.06675); beta1, beta2",
    )


@hookimpl
def mox_optimizer_wrappers() -> Iterator[OptimizerWrapperOffer]:
    """Offer the wrapper."""
    yield OptimizerWrapperOffer(
        name="lookahead",
        target="mox_shapes.wrapper:Lookahead",
        summary="slow weights follow fast ones (Zhang et al. 2019, arXiv 1907.08610); period, rate",
    )


@hookimpl
def mox_datasets() -> Iterator[DatasetOffer]:
    """Offer the data set."""
    yield DatasetOffer(
        name="shapes",
        target="mox_shapes.dataset:Shapes",
        summary="squares, discs and crosses, as `mox.draw_shapes` draws them",
        meta=META,
    )


@hookimpl
def mox_exporters() -> Iterator[ExporterOffer]:
    """Offer the format."""
    yield ExporterOffer(
        name="WEIGHTS_NPZ",
        target="mox_shapes.exporter:export",
        summary="the weights by name in one file, for programs that have NumPy and no TensorFlow",
    )


@hookimpl
def mox_api() -> Iterator[ApiOffer]:
    """Offer a function and a session hook under `mox.`."""
    yield ApiOffer(
        name="draw_shapes",
        target="mox_shapes.drawing:draw_shapes",
        summary="draws the data set 'shapes' into a folder",
    )
    yield ApiOffer(
        name="CsvHook",
        target="mox_shapes.hook:CsvHook",
        summary="writes values of the training to a CSV file",
    )
