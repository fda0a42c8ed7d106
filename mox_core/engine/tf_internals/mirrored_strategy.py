"""Strategies of `tf.distribute` whose collectives are not taken for those of others.

TensorFlow remembers the collectives of a process by the number of their group of devices and one of their own, and
refuses one that is of another kind or shape the second time. Each strategy counts both from the same beginning.
"""

from __future__ import annotations

import functools
from typing import Final

import tensorflow as tf

_FIRST_GROUP: Final = 1000  # strategies of the script count from 1
_GROUPS: Final = 100  # one for each set of devices that a strategy sums over

_made: list[tf.distribute.MirroredStrategy] = []


@functools.cache
def mirrored_strategy(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    """Return the strategy of this process for devices: the same at each call, as its collectives are counted on."""

    class Numbered(tf.distribute.MirroredStrategy):  # type: ignore[misc]  # no type in the stubs
        _collective_key_base = _FIRST_GROUP + _GROUPS * len(_made)

    _made.append(Numbered(list(devices)))
    return _made[-1]
