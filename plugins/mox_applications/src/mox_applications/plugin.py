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
