"""The check of the arguments that data sets of images have in common."""

from __future__ import annotations

import logging
from typing import Any

from mox_core.errors import UsageError


def check_image_options(dataset: Any) -> None:
    """Check that the arguments of a data set of images fit together, and warn of batches that may not be possible.

    Args:
        dataset: has the attributes batch_size, image_size, preprocess_fn and augmentation_fn.

    Raises:
        UsageError: if preprocess_fn, which decodes, comes with what needs a decoded image.
    """
    name = type(dataset).__name__
    if dataset.preprocess_fn and (dataset.image_size or dataset.augmentation_fn):
        raise UsageError(
            f"{name} has preprocess_fn and {'image_size' if dataset.image_size else 'augmentation_fn'}. "
            "preprocess_fn takes the file as it is and decodes it: resize and augment in there."
        )
    one_size = dataset.preprocess_fn or dataset.image_size or dataset.augmentation_fn
    if dataset.batch_size is not None and not one_size:
        logging.getLogger("tensorflow").warning(
            "%s has batch_size=%d and nothing that makes the images one size: the first image of another size ends the "
            "run. Give image_size, augmentation_fn or preprocess_fn, or leave batch_size away and let mox.run make the "
            "batches.",
            name,
            dataset.batch_size,
        )
