"""Exported models that are asked about new images: `mox predict`, and `mox_core.serving.load(path)(images)`.

An export of `TF_SERVING` tells what it takes and gives in a file beside the SavedModel, see `description`. TensorFlow
is imported when a model is loaded.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mox_core.serving.model_folder import check_folder
from mox_core.stores.folder import is_remote, local_path

if TYPE_CHECKING:
    from mox_core.serving.predictor import Predictor

__all__ = ["load"]


def load(path: str | os.PathLike[str]) -> Predictor:
    """Load an exported model to be asked about images.

    Example:
        classify = mox_core.serving.load("log/1")
        for each in classify(["photo.jpg", "other.png"]):
            print(each.image, each.top[0].name, each.top[0].score)

    Args:
        path: the folder of an export of TF_SERVING, on this machine or on a store.

    Raises:
        UsageError: if there is no such export, or it takes more than images.
    """
    if not is_remote(told := os.fspath(path)):
        check_folder(Path(local_path(told)).expanduser(), told)  # before TensorFlow is imported, which takes seconds
    from mox_core.serving.predictor import load_predictor  # noqa: PLC0415  (TensorFlow)

    return load_predictor(path)
