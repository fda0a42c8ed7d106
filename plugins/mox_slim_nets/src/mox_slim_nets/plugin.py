"""What mox-slim-nets offers: the networks of TF-slim, and a data augmentation for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_core.plugins import AugmentationOffer, NetworkMeta, NetworkOffer, hookimpl
from mox_slim_nets.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def mox_networks() -> Iterator[NetworkOffer]:
    """Offer the networks, under the names of TF-slim."""
    for family in FAMILIES:
        for name, network in family.networks.items():
            meta = NetworkMeta(
                default_image_size=family.image_size,
                default_labels_offset=family.labels_offset,
                default_logits_pattern=family.logits,
                parameters=network.parameters,
            )
            yield NetworkOffer(name, f"mox_slim_nets.{family.module}:{name}", summary=network.summary, meta=meta)


@hookimpl
def mox_augmentations() -> Iterator[AugmentationOffer]:
    """Offer for each network the augmentation that suits it, under the same name."""
    for family in FAMILIES:
        for name in family.networks:
            yield AugmentationOffer(name, family.augmentation.target, summary=family.augmentation.summary)
