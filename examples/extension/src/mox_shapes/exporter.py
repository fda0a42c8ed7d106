"""The format `WEIGHTS_NPZ`: the weights by name, for programs that have NumPy and no TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mox_core.sdk import ExportedModel

FILE = "weights.npz"


def export(model: ExportedModel, directory: str) -> None:
    """Write `FILE`, with an array for each variable that the outputs need.

    Args:
        model: what is exported.
        directory: an empty folder.
    """
    np.savez(Path(directory, FILE), **{each.name.partition(":")[0]: each.numpy() for each in model.variables})
