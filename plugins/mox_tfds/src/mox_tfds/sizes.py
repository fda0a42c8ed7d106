"""What is published of the data sets with a name: classes and samples of each split, without importing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PUBLISHED: Final[Mapping[str, tuple[int, Mapping[str, int], str]]] = {
    "beans": (3, {"train": 1034, "validation": 133, "test": 128}, "leaves of beans, healthy or ill"),
    "cats_vs_dogs": (2, {"train": 23_262}, "photographs of cats and dogs"),
    "cifar100": (100, {"train": 50_000, "test": 10_000}, "small photographs of a hundred kinds, 32x32"),
    "eurosat": (10, {"train": 27_000}, "land from a satellite, 64x64"),
    "fashion_mnist": (10, {"train": 60_000, "test": 10_000}, "clothes, 28x28 grey"),
    "food101": (101, {"train": 75_750, "validation": 25_250}, "photographs of dishes"),
    "horses_or_humans": (2, {"train": 1027, "test": 256}, "rendered horses and humans"),
    "kmnist": (10, {"train": 60_000, "test": 10_000}, "cursive Japanese characters, 28x28 grey"),
    "oxford_flowers102": (102, {"train": 1020, "validation": 1020, "test": 6149}, "photographs of flowers"),
    "oxford_iiit_pet": (37, {"train": 3680, "test": 3669}, "photographs of breeds of cats and dogs"),
    "rock_paper_scissors": (3, {"train": 2520, "test": 372}, "rendered hands"),
    "stanford_dogs": (120, {"train": 12_000, "test": 8580}, "photographs of breeds of dogs"),
    "svhn_cropped": (10, {"train": 73_257, "test": 26_032, "extra": 531_131}, "digits of house numbers, 32x32"),
    "tf_flowers": (5, {"train": 3670}, "photographs of five kinds of flowers"),
}
"""For each name of TensorFlow Datasets: the number of classes, the splits, the one for training first, and a line."""
