"""Samples read many at a time: packs of them, in the order of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.engine.input.epochs import BLOCKS_IN_WINDOW
from mox_core.engine.tensors import no_autograph

if TYPE_CHECKING:
    from mox_core.engine.input.epochs import Blocks, EpochOrder
    from mox_core.engine.input.order import Order
    from mox_core.engine.tensors import Dataset

_SAMPLES: Final = 512
"""How many samples are enough for a pack, if they are small."""
_LARGEST: Final = 16
"""How many blocks a pack may hold."""
_READS: Final = 2
"""How many packs, or windows, are read at a time."""


def pack_size(batch: int, blocks: Blocks | None) -> int:
    """Return how many samples to read at a time for batches of a size: some batches, or an even part of one."""
    most = _LARGEST * (_SAMPLES if blocks is None else blocks.size)
    if batch > most:
        return -(-batch // -(-batch // most))
    return batch * max(1, min(_SAMPLES, most) // batch)


def read_packs(epochs: EpochOrder, blocks: Blocks | None, *, first: Any, stop: Any, order: Order, size: int) -> Dataset:
    """Return packs of the samples at the positions from `first` to `stop`.

    Args:
        epochs: the order of the samples.
        blocks: how samples are read; None where there is nothing to read but by their index.
        first: the first position.
        stop: the end of the positions, which may lie between two of this worker.
        order: the share of this worker.
        size: how many samples a pack has. Packs begin at each multiple of it from `first` on, and at each window.

    Returns:
        Elements (the position behind the pack, then of those samples that could be read their positions, their indices
        and their contents).
    """
    first, stop = (tf.cast(tf.convert_to_tensor(each), tf.int64) for each in (first, stop))
    if blocks is None or not epochs.shuffle or epochs.window_size > BLOCKS_IN_WINDOW * blocks.size:
        return _packs_in_order(epochs, blocks, first, stop, order, size)
    return _packs_of_windows(epochs, blocks, first, stop, order, size)


def _packs_in_order(
    epochs: EpochOrder, blocks: Blocks | None, first: tf.Tensor, stop: tf.Tensor, order: Order, size: int
) -> Dataset:
    """Return packs each of which is read by itself."""

    @no_autograph
    def pack(begin: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Any]:
        positions = tf.range(begin, tf.minimum(begin + size * order.workers, stop), order.workers)
        until = begin + tf.size(positions, tf.int64) * order.workers
        indices = epochs.index_at(positions + order.worker)
        if blocks is None:
            return until, positions, indices, ()
        places, contents = blocks.read(indices)
        return until, tf.gather(positions, places), tf.gather(indices, places), contents

    begins = tf.data.Dataset.range(first, stop, size * order.workers)
    return begins.map(pack, num_parallel_calls=_READS)


def _packs_of_windows(
    epochs: EpochOrder, blocks: Blocks, first: tf.Tensor, stop: tf.Tensor, order: Order, size: int
) -> Dataset:
    """Return packs of windows that are read two ahead, each in the order in which its samples lie."""
    own = first + order.worker  # places of this worker are this one and those whole rounds of workers behind it

    @no_autograph
    def read(window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Any]:
        begin, end = epochs.bounds(window)
        rounds = (tf.maximum(begin - own, 0) + order.workers - 1) // order.workers
        places = tf.range(own + rounds * order.workers, tf.minimum(end, stop + order.worker), order.workers)
        inside = epochs.inside(window, places - begin)
        row = inside[:, tf.newaxis]
        number = tf.reshape(end - begin, [1])
        wanted = tf.where(tf.scatter_nd(row, tf.ones_like(inside), number) > 0)[:, 0]
        indices = epochs.index_inside(window, wanted)
        found, contents = blocks.read(indices)
        # For each sample of the window which of the contents is its own, counted from 1.
        numbers = tf.range(1, tf.size(found, tf.int64) + 1)
        of_sample = tf.scatter_nd(tf.gather(wanted, found)[:, tf.newaxis], numbers, number)
        return rounds, places - order.worker, tf.gather(of_sample, inside) - 1, (tf.gather(indices, found), *contents)

    def cut(rounds: tf.Tensor, positions: tf.Tensor, content_of: tf.Tensor, contents: Any) -> Dataset:
        stop_at = rounds + tf.size(positions, tf.int64)

        @no_autograph
        def pack(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Any]:
            begin, end = (tf.clip_by_value(number * size + each, rounds, stop_at) - rounds for each in (0, size))
            of_pack, own_positions = content_of[begin:end], positions[begin:end]
            found = of_pack >= 0
            places = tf.boolean_mask(of_pack, found)
            until = own_positions[-1] + order.workers
            indices, *chosen = (tf.gather(tensor, places) for tensor in contents)
            return until, tf.boolean_mask(own_positions, found), indices, tuple(chosen)

        last_pack = tf.where(stop_at > rounds, -(-stop_at // size), 0)
        return tf.data.Dataset.range(rounds // size, last_pack).map(pack)

    as_packs: Any = no_autograph(cut)  # the stubs know no function of several
    last = epochs.window_of(stop + order.worker - 1)
    windows = tf.data.Dataset.range(epochs.window_of(own), tf.where(stop > first, last + 1, 0))
    return windows.map(read, num_parallel_calls=_READS).flat_map(as_packs)
