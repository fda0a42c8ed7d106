"""How many images the published data sets have: known before anything is read, without TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZES: Final[Mapping[str, Mapping[str, int]]] = {
    "cifar10": {"train": 50_000, "test": 10_000},
    "flowers": {"train": 3320, "validation": 350},
    "imagenet": {"train": 1_281_167, "validation": 50_000},
    "mnist": {"train": 60_000, "test": 10_000},
}
"""For each data set its splits, the one for training first."""

NUM_CLASSES: Final[Mapping[str, int]] = {"cifar10": 10, "flowers": 5, "imagenet": 1001, "mnist": 10}
"""The number of classes; of ImageNet with the background, as slim counts, whose labels go from 1 to 1000."""
