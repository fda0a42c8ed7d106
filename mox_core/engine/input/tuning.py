"""Whether tf.data tunes a pipeline while it runs.

Where nothing is tuned, AUTOTUNE in `num_parallel_calls` stands for as many calls as the machine has cores, 16 at most.
So there is nothing to gain on a machine of no more cores, and this to lose: tf.data measures each element, which costs
a seventh of the time of a small one; and whoever closes a pipeline may wait as long as it was open, up to a minute,
where the thread that tunes looks whether it is to end a moment before it is told so.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import tensorflow as tf

if TYPE_CHECKING:
    from mox_core.engine.tensors import Dataset

_CALLS_UNTUNED: Final = 16
"""How many calls at a time AUTOTUNE stands for at most where nothing is tuned."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def untuned(dataset: Dataset) -> Dataset:
    """Return a dataset without tuning."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def tuned_on_large_machines(dataset: Dataset) -> Dataset:
    """Return a dataset that is tuned where the machine has many cores or its options say so."""
    if dataset.options().autotune.enabled is not None or cores() > _CALLS_UNTUNED:
        return dataset
    return untuned(dataset)
