"""What mox-slim-nets offers: the networks of TF-slim, and a data augmentation for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from mox_core.plugins import AugmentationOffer, NetworkOffer, hookimpl
from mox_slim_nets.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

# With 1000 classes, without auxiliary logits; moving averages are among them.
_PARAMETERS = {
    "lenet": 4_290_984,
    "cifarnet": 1_947_496,
    "alexnet_v2": 50_303_912,
    "overfeat": 145_704_424,
    "vgg_a": 132_863_336,
    "vgg_16": 138_357_544,
    "vgg_19": 143_667_240,
    "vgg_a_bn": 132_871_592,
    "vgg_16_bn": 138_370_216,
    "vgg_19_bn": 143_683_752,
    "inception_v1": 6_632_184,
    "inception_v2": 11_198_112,
    "inception_v3": 23_851_784,
    "inception_v4": 42_711_400,
    "inception_resnet_v2": 55_873_736,
    "mobilenet_v1": 4_253_864,
    "mobilenet_v1_075": 2_601_976,
    "mobilenet_v1_050": 1_342_536,
    "mobilenet_v1_025": 475_544,
    "mobilenet_v2": 3_538_984,
    "mobilenet_v2_140": 6_156_712,
    "mobilenet_v2_035": 1_691_208,
    "nasnet_cifar": 4_145_096,
    "nasnet_mobile": 5_326_716,
    "pnasnet_mobile": 5_098_151,
    "nasnet_large": 88_949_818,
    "pnasnet_large": 86_234_656,
    "resnext_b_50": 25_097_128,
    "resnext_b_101": 44_315_560,
    "resnext_c_50": 25_097_128,
    "resnext_c_101": 44_315_560,
    "xception_41": 27_084_872,
    "xception_65": 40_101_512,
    "xception_71": 42_537_712,
}


@hookimpl
def mox_networks() -> Iterator[NetworkOffer]:
    """Offer the networks, under the names of TF-slim."""
    for family in FAMILIES:
        for name, summary in family.names.items():
            meta = evolve(family.meta, parameters=_PARAMETERS[name])
            yield NetworkOffer(name, f"{family.module}:{name}", summary=summary, meta=meta)


@hookimpl
def mox_augmentations() -> Iterator[AugmentationOffer]:
    """Offer for each network the augmentation that suits it, under the same name."""
    for family in FAMILIES:
        for name in family.names:
            yield AugmentationOffer(name, family.augmentation.target, summary=family.augmentation.summary)
