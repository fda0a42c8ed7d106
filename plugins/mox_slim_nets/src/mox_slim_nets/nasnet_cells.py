"""The cells of NASNet-A and PNASNet-5 as data, and how a cell is added to a network.

A cell has two inputs, the outputs of the two cells before it. It adds five pairs of branches up; a branch takes one of
the inputs or of the sums before it. What no branch takes is put side by side, and is the output.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import tensorflow as tf
from attrs import frozen

from mox_core.networks.layers import avg_pool, batch_norm, conv, max_pool, separable_conv

if TYPE_CHECKING:
    from mox_core.networks.context import Context

_conv = partial(conv, normalize=False, biases=False, activation=None)
_separable = partial(separable_conv, padding="SAME", normalize=False, biases=False, activation=None)


@frozen
class Branch:
    """One of two operations that are added up.

    Attributes:
        operation: 'separable' is two separable convolutions; 'identity' is a 1x1 convolution where it has to stride.
        source: what it takes: 0 is the cell before, 1 the one before that, 2 the first sum, 3 the second, ...
        size: height and width of its window.
    """

    operation: Literal["separable", "avg_pool", "max_pool", "identity"]
    source: int
    size: int = 3


@frozen
class Cell:
    """What a cell consists of.

    Attributes:
        pairs: the branches that are added up.
        outputs: which states are put side by side, by their numbers in `Branch.source`.
    """

    pairs: tuple[tuple[Branch, Branch], ...]
    outputs: tuple[int, ...]


@frozen
class State:
    """The output of a cell or of a part of it.

    Attributes:
        net: the tensor.
        level: how often height and width have been halved since the stem. It is counted, and not told by the sizes, so
            that the variables of a network are the same for images of all sizes, and for those of unknown size.
    """

    net: tf.Tensor
    level: int


@frozen(kw_only=True)
class DropPath:
    """Branches that are left out by chance in training (arXiv:1605.07648), each image on its own.

    It happens more often the later the cell and the step: in the last cell, from `total_steps` on, with probability
    1 - keep_prob.

    Attributes:
        keep_prob: the smallest probability of a branch to be kept; 1 keeps all.
        total_steps: the number of steps over which the probability falls.
        cells: the number of cells of the network.
    """

    keep_prob: float
    total_steps: int
    cells: int

    def of_cell(self, number: int) -> tf.Tensor | None:
        """Return the probability to keep a branch of a cell, which is counted from 0, at the present step."""
        if self.keep_prob >= 1:
            return None
        step = tf.cast(tf.compat.v1.train.get_or_create_global_step(), tf.float32)
        dropped = (number + 1) / self.cells * (1 - self.keep_prob)
        return 1.0 - tf.minimum(1.0, step / self.total_steps) * dropped


NASNET_NORMAL: Final = Cell(
    (
        (Branch("separable", 0, 5), Branch("separable", 1)),
        (Branch("separable", 1, 5), Branch("separable", 1)),
        (Branch("avg_pool", 0), Branch("identity", 1)),
        (Branch("avg_pool", 1), Branch("avg_pool", 1)),
        (Branch("separable", 0), Branch("identity", 0)),
    ),
    outputs=(1, 2, 3, 4, 5, 6),
)
NASNET_REDUCTION: Final = Cell(
    (
        (Branch("separable", 0, 5), Branch("separable", 1, 7)),
        (Branch("max_pool", 0), Branch("separable", 1, 7)),
        (Branch("avg_pool", 0), Branch("separable", 1, 5)),
        (Branch("identity", 3), Branch("avg_pool", 2)),
        (Branch("separable", 2), Branch("max_pool", 0)),
    ),
    outputs=(3, 4, 5, 6),
)
PNASNET: Final = Cell(
    (
        (Branch("separable", 1, 5), Branch("max_pool", 1)),
        (Branch("separable", 0, 7), Branch("max_pool", 0)),
        (Branch("separable", 0, 5), Branch("separable", 0)),
        (Branch("separable", 4), Branch("max_pool", 0)),
        (Branch("separable", 1), Branch("identity", 0)),
    ),
    outputs=(2, 3, 4, 5, 6),
)


def add_cell(
    cell: Cell,
    net: State,
    before: State | None,
    context: Context,
    *,
    filters: int,
    stride: int,
    keep_prob: tf.Tensor | None,
) -> State:
    """Return the output of a cell, whose variables are made in the scope around the call.

    Args:
        cell: what it consists of.
        net: the output of the cell before.
        before: the output of the cell before that; None where there is none: `net`, as it is.
        context: what the layers share.
        filters: the number of filters of each convolution.
        stride: 2 if height and width are halved.
        keep_prob: the probability to keep a branch; None: 1.
    """
    second = net.net if before is None else _fitted(before, net.level, context, filters)
    first = batch_norm(
        _conv(tf.nn.relu(net.net), context, filters=filters, size=1, scope="1x1"), context, scope="beginning_bn"
    )
    states = [first, second]
    for number, pair in enumerate(cell.pairs):
        with tf.compat.v1.variable_scope(f"comb_iter_{number}"):
            parts = []
            for side, branch in zip(("left", "right"), pair, strict=True):
                with tf.compat.v1.variable_scope(side):
                    strided = stride if branch.source < 2 else 1  # noqa: PLR2004  (the inputs; the sums are halved)
                    part = _branch(branch, states[branch.source], context, filters, strided)
                    parts.append(part if branch.operation == "identity" else _dropped(part, keep_prob))
            states.append(parts[0] + parts[1])
    with tf.compat.v1.variable_scope("cell_output"):
        outputs = [_widened(number, states[number], context, filters) for number in cell.outputs]
    return State(tf.concat(outputs, context.channel_axis), net.level + stride - 1)


def _fitted(before: State, level: int, context: Context, filters: int) -> tf.Tensor:
    """Return the second input of a cell in the size and with the filters of the cell."""
    if before.level != level:
        return _halved(tf.nn.relu(before.net), context, filters)
    if context.channels(before.net) == filters:
        return before.net
    net = _conv(tf.nn.relu(before.net), context, filters=filters, size=1, scope="prev_1x1")
    return batch_norm(net, context, scope="prev_bn")


def _halved(net: tf.Tensor, context: Context, filters: int) -> tf.Tensor:
    """Half of the filters see every second pixel of every second row, the others those between them."""
    shifted = tf.pad(net, context.spatial([0, 1], [0, 1], others=[0, 0]))
    shifted = tf.slice(shifted, context.spatial(1, 1, others=0), [-1] * 4)
    halves = []
    for scope, half, depth in (("path1_conv", net, filters // 2), ("path2_conv", shifted, filters - filters // 2)):
        seen = avg_pool(half, context, size=1, stride=2, padding="VALID")
        halves.append(_conv(seen, context, filters=depth, size=1, scope=scope))
    return batch_norm(tf.concat(halves, context.channel_axis), context, scope="final_path_bn")


def _branch(branch: Branch, net: tf.Tensor, context: Context, filters: int, stride: int) -> tf.Tensor:
    if branch.operation == "separable":
        for number in (1, 2):
            scope = f"{branch.size}x{branch.size}_{number}"
            net = _separable(
                tf.nn.relu(net),
                context,
                filters=filters,
                size=branch.size,
                stride=stride if number == 1 else 1,
                scope=f"separable_{scope}",
            )
            net = batch_norm(net, context, scope=f"bn_sep_{scope}")
        return net
    if branch.operation == "identity":
        if stride == 1 and context.channels(net) == filters:
            return net
        return _projected(tf.nn.relu(net), context, filters, stride)
    pool = avg_pool if branch.operation == "avg_pool" else max_pool
    net = pool(net, context, size=branch.size, stride=stride, padding="SAME")
    return net if context.channels(net) == filters else _projected(net, context, filters, stride=1)


def _projected(net: tf.Tensor, context: Context, filters: int, stride: int) -> tf.Tensor:
    net = _conv(net, context, filters=filters, size=1, stride=stride, scope="1x1")
    return batch_norm(net, context, scope="bn_1")


def _widened(number: int, net: tf.Tensor, context: Context, filters: int) -> tf.Tensor:
    """Return a state with the filters of the cell, which only the second input of a first cell has not."""
    if context.channels(net) == filters:
        return net
    with tf.compat.v1.variable_scope(f"reduction_{number}"):
        net = _conv(net, context, filters=filters, size=1, scope="path_conv")
        return batch_norm(net, context, scope="path_bn")


def _dropped(net: tf.Tensor, keep_prob: tf.Tensor | None) -> tf.Tensor:
    """Return zeros instead of some images of the batch, and the others as much larger."""
    if keep_prob is None:
        return net
    kept = tf.floor(keep_prob + tf.random.uniform(tf.concat([tf.shape(net)[:1], [1, 1, 1]], 0)))
    return net * tf.cast(kept / keep_prob, net.dtype)
