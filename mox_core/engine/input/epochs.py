"""The order of the samples of each epoch, computed for any place, and the parts of it that are read together.

Where samples are read one by one, an epoch is one permutation of all of them. Where reading those that lie together
costs less, it comes about in three steps, each a function of (seed, epoch):

1. the samples, in a circle, are cut into blocks of samples that lie together, from a sample on that is drawn anew;
2. the blocks are permuted, and as many as fit into memory make a window;
3. the samples of each window are permuted.

So a sample is near those of its block, and otherwise anywhere. A set that fits into one window is permuted as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import tensorflow as tf
from attrs import frozen

from mox_core.engine import randomness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BLOCKS_IN_WINDOW: Final = 64
ONE_BY_ONE: Final = 1
"""The size of blocks where an epoch is one permutation."""
_PADDING: Final = 498247692
_ROUNDS: Final = 4
"""What `tf.random.experimental.index_shuffle` gives its operation. It knows no seed for each index, as that does."""


@frozen(kw_only=True)
class Blocks:
    """How the samples of a source are read many at a time.

    Attributes:
        size: how many samples a block has: about a megabyte of them. A window of 64 blocks is in memory, and two
            more that are read ahead.
        contents: the specs of what is read of one sample, which `fetch` gets behind its index.
        read: function of indices (int64 [n]) that returns (places, contents): the contents of the samples that could
            be read, a tuple of tensors, and their places among the indices, ascending. Of a shuffled source, the
            indices of a block are together, ascending but for the end of the set.
    """

    size: int
    contents: Sequence[tf.TensorSpec]
    read: Callable[[tf.Tensor], tuple[tf.Tensor, tuple[tf.Tensor, ...]]]


@frozen(kw_only=True)
class EpochOrder:
    """The order of the samples in each epoch. Place p is offset p % num_samples of epoch p // num_samples.

    Attributes:
        num_samples: how many samples an epoch has.
        shuffle: whether each epoch has an order of its own.
        seed: of the order.
        block: how many samples a block has.
    """

    num_samples: int
    shuffle: bool
    seed: int
    block: int = ONE_BY_ONE

    @property
    def windows(self) -> int:
        """How many windows an epoch has."""
        in_memory = self.block * BLOCKS_IN_WINDOW
        return 1 if self.block == ONE_BY_ONE or not self.shuffle else -(-self.num_samples // in_memory)

    @property
    def window_size(self) -> int:
        """How many samples a window has; the last one of an epoch may have fewer."""
        if self.windows == 1:
            return self.num_samples
        blocks = -(-self.num_samples // self.block)
        return self.block * -(-blocks // self.windows)

    def index_at(self, place: tf.Tensor) -> tf.Tensor:
        """Return the indices of the samples at some places (int64, a scalar or a vector)."""
        epoch, offset = tf.math.floordiv(place, self.num_samples), tf.math.floormod(place, self.num_samples)
        if not self.shuffle:
            return offset
        window = tf.math.floordiv(offset, self.window_size)
        begin = window * self.window_size
        inside = self._shuffled("order", epoch * self.windows + window, offset - begin, self._size_from(begin))
        return self._sample(epoch, begin + inside)

    def window_of(self, place: tf.Tensor) -> tf.Tensor:
        """Return the number of the window that a place belongs to, counted over all epochs."""
        epoch, offset = tf.math.floordiv(place, self.num_samples), tf.math.floormod(place, self.num_samples)
        return epoch * self.windows + tf.math.floordiv(offset, self.window_size)

    def bounds(self, window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the first place of a window, and the place behind its last one."""
        epoch, begin = self._begin(window)
        first = epoch * self.num_samples + begin
        return first, first + self._size_from(begin)

    def inside(self, window: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
        """Return where the samples at some offsets of a window lie among its samples, in the order of its blocks."""
        _, begin = self._begin(window)
        return self._shuffled("order", window, offsets, self._size_from(begin))

    def index_inside(self, window: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
        """Return the indices of samples of a window, in the order of its blocks."""
        epoch, begin = self._begin(window)
        if self.windows == 1:
            return inside
        starts = tf.range(begin, begin + self._size_from(begin), self.block)
        firsts = tf.gather(self._sample(epoch, starts), tf.math.floordiv(inside, self.block))
        return tf.math.floormod(firsts + tf.math.floormod(inside, self.block), self.num_samples)

    def _begin(self, window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        number = tf.math.floormod(window, self.windows)
        return tf.math.floordiv(window, self.windows), number * self.window_size

    def _size_from(self, begin: tf.Tensor) -> tf.Tensor:
        return tf.minimum(tf.constant(self.window_size, tf.int64), self.num_samples - begin)

    def _sample(self, epoch: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
        """Return the index of a sample at an offset of the epoch, whose blocks are permuted and no more."""
        if self.windows == 1:
            return offset
        whole = self.num_samples // self.block
        place = tf.math.floordiv(offset, self.block)
        # Blocks of fewer samples come last: so the places of all others are known.
        permuted = self._shuffled("blocks", epoch, tf.minimum(place, whole - 1), tf.constant(whole, tf.int64))
        block = tf.where(place < whole, permuted, place)
        size, round_ = tf.constant(self.num_samples, tf.int64), tf.math.floordiv(epoch, self.num_samples)
        turned = self._shuffled("turn", round_, tf.math.floormod(epoch, self.num_samples), size)
        return tf.math.floormod(block * self.block + tf.math.floormod(offset, self.block) + turned, size)

    def _shuffled(self, kind: str, number: tf.Tensor, index: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Return where a permutation with a number, of 0 to size - 1, puts some indices."""
        if index.shape.rank == 0:
            return self._permuted(kind, number, index, size)
        # The operation refuses a vector of nothing: one index more is put behind them, and taken away again.
        number, size = (more if more.shape.rank == 0 else tf.concat([more, [1]], 0) for more in (number, size))
        return self._permuted(kind, number, tf.concat([index, [0]], 0), size)[:-1]

    def _permuted(self, kind: str, number: tf.Tensor, index: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        keys = (_PADDING, randomness.fold(self.seed, kind))
        seed = tf.stack([*(tf.fill(tf.shape(number), tf.constant(key, tf.int64)) for key in keys), number], -1)
        return tf.raw_ops.RandomIndexShuffle(index=index, seed=seed, max_index=size - 1, rounds=_ROUNDS)
