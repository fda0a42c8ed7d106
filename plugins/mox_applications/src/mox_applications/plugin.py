"""What mox-applications offers: the networks of keras.applications, and a data augmentation for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_applications.families import APPLICATIONS
from mox_core.plugins import AugmentationOffer, NetworkMeta, NetworkOffer, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCHEMES = {
    "vgg": "VGG scheme: random scale, random crop, flip",
    "inception": "Inception scheme: random area and proportions, flip",
    "efficientnet": "Inception scheme, with EfficientNet's margin of 16 pixels in evaluations",
}

# With 1000 classes; moving averages are among them.
_PARAMETERS = {
    "convnext_tiny": 28_589_128,
    "convnext_small": 50_223_688,
    "convnext_base": 88_591_464,
    "convnext_large": 197_767_336,
    "convnext_xlarge": 350_196_968,
    "densenet_121": 8_062_504,
    "densenet_169": 14_307_880,
    "densenet_201": 20_242_984,
    "efficientnet_b0": 5_330_571,
    "efficientnet_b1": 7_856_239,
    "efficientnet_b2": 9_177_569,
    "efficientnet_b3": 12_320_535,
    "efficientnet_b4": 19_466_823,
    "efficientnet_b5": 30_562_527,
    "efficientnet_b6": 43_265_143,
    "efficientnet_b7": 66_658_687,
    "efficientnet_v2_b0": 7_200_312,
    "efficientnet_v2_b1": 8_212_124,
    "efficientnet_v2_b2": 10_178_374,
    "efficientnet_v2_b3": 14_467_622,
    "efficientnet_v2_s": 21_612_360,
    "efficientnet_v2_m": 54_431_388,
    "efficientnet_v2_l": 119_027_848,
    "inception_resnet_v2": 55_873_736,
    "inception_v3": 23_851_784,
    "mobilenet": 4_253_864,
    "mobilenet_v1": 4_253_864,
    "mobilenet_v2": 3_538_984,
    "mobilenet_v3_small": 2_554_968,
    "mobilenet_v3_large": 5_507_432,
    "nasnet_mobile": 5_326_716,
    "nasnet_large": 88_949_818,
    "resnet_50": 25_636_712,
    "resnet_101": 44_707_176,
    "resnet_152": 60_419_944,
    "resnet_50_v2": 25_613_800,
    "resnet_101_v2": 44_675_560,
    "resnet_152_v2": 60_380_648,
    "vgg_16": 138_357_544,
    "vgg_19": 143_667_240,
    "xception": 22_910_480,
}


@hookimpl
def mox_networks() -> Iterator[NetworkOffer]:
    """Offer the networks; names of the manual yield to the networks that it means."""
    for name, network in APPLICATIONS.items():
        yield NetworkOffer(
            name,
            f"mox_applications.networks:{name}",
            summary=f"{network.family.title}, keras.applications.{network.function}",
            meta=NetworkMeta(
                default_image_size=network.size,
                default_labels_offset=0,
                default_logits_pattern=network.family.head,
                parameters=_PARAMETERS[name],
            ),
            yields=network.yields,
        )


@hookimpl
def mox_augmentations() -> Iterator[AugmentationOffer]:
    """Offer for each network the augmentation of its paper, under the same name."""
    for name, network in APPLICATIONS.items():
        yield AugmentationOffer(
            name,
            f"mox_applications.augmentation:{name}",
            summary=_SCHEMES[network.family.scheme],
            yields=network.yields,
        )
