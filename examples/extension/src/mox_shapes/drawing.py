"""`mox.draw_shapes`: the data set `shapes`, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mox_shapes.plugin import META

if TYPE_CHECKING:
    import os

SIZE = 20
_REACH = 5
"""From the middle of a shape to its border."""


def draw_shapes(folder: str | os.PathLike[str], *, seed: int = 0) -> None:
    """Write `train.npz` and `eval.npz` into a folder, which is made where it is missing.

    Each holds `images` (uint8, 20 x 20, one channel: a light shape somewhere near the middle of a dark, noisy ground)
    and `labels` (0: a square, 1: a disc, 2: a cross).

    Args:
        folder: where to.
        seed: another one gives other images.
    """
    random = np.random.default_rng(seed)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for split, size in META.splits_to_sizes.items():
        labels = np.arange(size) % META.num_classes
        images = np.stack([_draw(label, random) for label in labels])
        np.savez(Path(folder, f"{split}.npz"), images=images, labels=labels)


def _draw(label: int, random: np.random.Generator) -> np.ndarray:
    middle = SIZE // 2 + random.integers(-1, 2, size=2)
    y, x = np.abs(np.indices((SIZE, SIZE)) - middle[:, None, None])
    square = np.maximum(y, x) <= _REACH
    inside = (square, y**2 + x**2 <= _REACH**2, square & (np.minimum(y, x) <= 1))[label]
    return (random.integers(0, 60, inside.shape) + 160 * inside).astype(np.uint8)[..., None]
