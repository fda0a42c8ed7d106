"""What mox-resnet offers: the residual networks of He et al. 2015 and 2016, and a data augmentation for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from mox_core.plugins import AugmentationOffer, NetworkMeta, NetworkOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

# ImageNet's labels count a background class as 0: published checkpoints of v1 have no logit for it, those of v2 have.
_IMAGENET_V1 = NetworkMeta(default_image_size=224, default_labels_offset=1)
_IMAGENET_V2 = NetworkMeta(default_image_size=224, default_labels_offset=0)
_CIFAR = NetworkMeta(default_image_size=32, default_labels_offset=0)

_META = {
    "resnet_v1_18": _IMAGENET_V1,
    "resnet_v1_20": _CIFAR,
    "resnet_v1_34": _IMAGENET_V1,
    "resnet_v1_50": _IMAGENET_V1,
    "resnet_v1_101": _IMAGENET_V1,
    "resnet_v1_110": _CIFAR,
    "resnet_v1_152": _IMAGENET_V1,
    "resnet_v1_200": _IMAGENET_V1,
    "resnet_v2_50": _IMAGENET_V2,
    "resnet_v2_101": _IMAGENET_V2,
    "resnet_v2_152": _IMAGENET_V2,
    "resnet_v2_200": _IMAGENET_V2,
}

# With 1000 classes; moving averages are among them.
_PARAMETERS = {
    "resnet_v1_18": 11_699_112,
    "resnet_v1_20": 335_448,
    "resnet_v1_34": 21_814_696,
    "resnet_v1_50": 25_610_152,
    "resnet_v1_101": 44_654_504,
    "resnet_v1_110": 1_800_408,
    "resnet_v1_152": 60_344_232,
    "resnet_v1_200": 64_849_832,
    "resnet_v2_50": 25_613_800,
    "resnet_v2_101": 44_675_560,
    "resnet_v2_152": 60_380_648,
    "resnet_v2_200": 64_894_440,
}


@hookimpl
def mox_networks() -> Iterator[NetworkOffer]:
    """Offer the networks, under the names of TF-slim."""
    for name, meta in _META.items():
        layers = name.rpartition("_")[2]
        images = "small images" if meta is _CIFAR else "photographs"
        version = "pre-activation residual network" if meta is _IMAGENET_V2 else "residual network"
        summary = f"{version} of {layers} layers for {images}"
        yield NetworkOffer(
            name, f"mox_resnet.networks:{name}", summary=summary, meta=evolve(meta, parameters=_PARAMETERS[name])
        )


@hookimpl
def mox_augmentations() -> Iterator[AugmentationOffer]:
    """Offer for each network the augmentation that suits it, under the same name."""
    for name, meta in _META.items():
        if meta is _CIFAR:
            yield AugmentationOffer(
                name, "mox_core.networks.augmentation:cifar", summary="CIFAR scheme: shift by up to 4, flip"
            )
        else:
            yield AugmentationOffer(
                name, "mox_core.networks.augmentation:vgg", summary="VGG scheme: random scale, random crop, flip"
            )
