"""NASNet-A of Zoph et al. 2017 (arXiv:1707.07012) and PNASNet-5 of Liu et al. 2017 (arXiv:1712.00559), slim's.

A network is a stack of cells: `nasnet_cells` has the cells, this module the stacks. There is no scope around all of
the variables (`conv0/weights`, `cell_0/...`), in slim and so here.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import tensorflow as tf
from attrs import Factory, frozen

from mox_core.errors import UsageError
from mox_core.networks.checks import check_count, check_flag, check_keep_prob
from mox_core.networks.image_network import ImageNetwork
from mox_core.networks.layers import avg_pool, batch_norm, conv, dropout, fully_connected, global_pool
from mox_core.networks.preprocessing import scale_to_unit_range, standardize_images
from mox_slim_nets.nasnet_cells import NASNET_NORMAL, NASNET_REDUCTION, PNASNET, Cell, DropPath, State, add_cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_core.networks.context import Context

_INITIALIZER: Final = tf.compat.v1.variance_scaling_initializer(scale=2.0, mode="fan_out")
_STEM_CELLS: Final = 2
_REDUCTIONS: Final = 2
_AUX_WINDOW: Final = 5
_conv = partial(conv, normalize=False, biases=False, activation=None)


@frozen(kw_only=True)
class Architecture:
    """A stack of cells.

    The number of filters doubles at each of two reductions, behind one and two thirds of the cells.

    Attributes:
        normal: the cell.
        reduction: the cell with stride 2 that stands before the normal one at a reduction; None: the normal one has
            stride 2 there itself.
        cells: the number of normal cells behind the stem.
        filters: the number of filters of the first of them.
        stem_filters: the number of filters of the first convolution.
        imagenet: whether the stem is a convolution and two cells, each with stride 2; otherwise it is a convolution
            with stride 1.
        skips_reduction: whether the second input of the cell behind a reduction cell is what it would be without that.
    """

    normal: Cell
    reduction: Cell | None
    cells: int
    filters: int
    stem_filters: int
    imagenet: bool = True
    skips_reduction: bool = True


def nasnet_layers(
    architecture: Architecture,
    net: tf.Tensor,
    context: Context,
    *,
    use_aux_head: bool,
    drop_path_keep_prob: float,
    total_training_steps: int,
    dense_dropout_keep_prob: float,
) -> tf.Tensor:
    """The stem, the cells, the mean over the pixels, and a full connection.

    The end points have slim's names: `Stem`, `Cell_0`, ..., `Reduction_Cell_0`, ..., `global_pool`, `Logits`,
    `Predictions`; and `AuxLogits`, from a second head before the second reduction, in TRAIN and EVAL.
    """
    drop_path = DropPath(
        keep_prob=drop_path_keep_prob if context.training else 1.0,
        total_steps=total_training_steps,
        cells=architecture.cells
        + (_REDUCTIONS if architecture.reduction is not None else 0)
        + (_STEM_CELLS if architecture.imagenet else 0),
    )
    stack = _Stack(context, drop_path)
    _add_stem(net, architecture, stack)
    context.end_points["Stem"] = stack.last.net
    reductions = [architecture.cells * number // (_REDUCTIONS + 1) for number in range(1, _REDUCTIONS + 1)]
    filters = architecture.filters
    for number in range(architecture.cells):
        stride, before = 1, stack.before
        if number in reductions:
            filters *= 2
            if architecture.reduction is None:
                stride = 2
            else:
                name = f"reduction_cell_{reductions.index(number)}"
                context.end_points[name.title()] = stack.add(architecture.reduction, before, filters, 2, name)
        before = before if architecture.skips_reduction else stack.before
        context.end_points[f"Cell_{number}"] = stack.add(architecture.normal, before, filters, stride, f"cell_{number}")
        if use_aux_head and context.does_loss and number == reductions[-1] - 1:
            with tf.compat.v1.variable_scope(f"aux_{number}/aux_logits"):
                context.end_points["AuxLogits"] = _aux_logits(tf.nn.relu(stack.last.net), context)
    return _classified(tf.nn.relu(stack.last.net), context, dense_dropout_keep_prob)


@frozen
class _Stack:
    """The cells that a network has so far.

    Attributes:
        context: what the layers share.
        drop_path: of all cells.
        states: the outputs of the stem's convolution and of the cells, after None for what is before them.
        numbers: the numbers of the cells that are to come.
    """

    context: Context
    drop_path: DropPath
    states: list[State | None] = Factory(lambda: [None])
    numbers: Iterator[int] = Factory(itertools.count)

    @property
    def last(self) -> State:
        """The output of the last cell."""
        return cast("State", self.states[-1])

    @property
    def before(self) -> State | None:
        """The output of the cell before the last one; None if there is none."""
        return self.states[-2]

    def add(self, cell: Cell, before: State | None, filters: int, stride: int, scope: str) -> tf.Tensor:
        """Add a cell, whose first input is the last one, and return its output."""
        keep_prob = self.drop_path.of_cell(next(self.numbers))  # outside of the scope: it may make the global step
        with tf.compat.v1.variable_scope(scope):
            state = add_cell(cell, self.last, before, self.context, filters=filters, stride=stride, keep_prob=keep_prob)
        self.states.append(state)
        return state.net


def _add_stem(net: tf.Tensor, architecture: Architecture, stack: _Stack) -> None:
    context, filters = stack.context, architecture.stem_filters
    if not architecture.imagenet:
        net = _conv(net, context, filters=filters, size=3, scope="l1_stem_3x3")
        stack.states.append(State(batch_norm(net, context, scope="l1_stem_bn"), level=0))
        return
    net = _conv(net, context, filters=filters, size=3, stride=2, padding="VALID", scope="conv0")
    stack.states.append(State(batch_norm(net, context, scope="conv0_bn"), level=0))
    cell = architecture.normal if architecture.reduction is None else architecture.reduction
    for number in range(_STEM_CELLS):
        filters = architecture.filters // 2 ** (_STEM_CELLS - number)
        stack.add(cell, stack.before, filters, 2, f"cell_stem_{number}")


def _aux_logits(net: tf.Tensor, context: Context) -> tf.Tensor:
    """The second head: its last convolution sees all pixels that are left, so its kernel depends on the image size."""
    net = avg_pool(net, context, size=_AUX_WINDOW, stride=3, padding="VALID")
    height, width = (net.shape[axis] for axis in context.spatial_axes)
    if height is None or width is None:
        raise UsageError(
            "the images have no static height and width, on which the variables of the head of AuxLogits depend: give "
            "image_height and image_width, or use_aux_head=False to build the network without it"
        )
    net = tf.nn.relu(batch_norm(_conv(net, context, filters=128, size=1, scope="proj"), context, scope="aux_bn0"))
    net = _conv(net, context, filters=768, size=(height, width), padding="VALID", scope="Conv")
    net = tf.squeeze(tf.nn.relu(batch_norm(net, context, scope="aux_bn1")), context.spatial_axes)
    return fully_connected(net, context, units=context.num_classes, activation=None, scope="FC")


def _classified(net: tf.Tensor, context: Context, keep_prob: float) -> tf.Tensor:
    with tf.compat.v1.variable_scope("final_layer"):
        net = tf.squeeze(global_pool(net, context), context.spatial_axes)
        context.end_points["global_pool"] = net
        net = dropout(net, context, keep_prob=keep_prob)
        logits = fully_connected(net, context, units=context.num_classes, activation=None, scope="FC")
    context.end_points["Logits"] = logits
    context.end_points["Predictions"] = tf.nn.softmax(logits)
    return logits


def _network(
    name: str,
    architecture: Architecture,
    *,
    drop_path_keep_prob: float,
    total_training_steps: int = 250_000,
    dense_dropout_keep_prob: float = 0.5,
) -> ImageNetwork:
    return ImageNetwork(
        name=name,
        build=partial(nasnet_layers, architecture),
        preprocess=scale_to_unit_range if architecture.imagenet else standardize_images,
        scope="",
        options={
            "use_aux_head": True,
            "drop_path_keep_prob": drop_path_keep_prob,
            "total_training_steps": total_training_steps,
            "dense_dropout_keep_prob": dense_dropout_keep_prob,
        },
        checks={
            "use_aux_head": check_flag,
            "drop_path_keep_prob": check_keep_prob,
            "total_training_steps": check_count,
            "dense_dropout_keep_prob": check_keep_prob,
        },
        batch_norm_decay=0.9997 if architecture.imagenet else 0.9,
        batch_norm_epsilon=1e-3 if architecture.imagenet else 1e-5,
        initializer=_INITIALIZER,
        layer_end_points=False,
    )


_nasnet = partial(Architecture, normal=NASNET_NORMAL, reduction=NASNET_REDUCTION)
_pnasnet = partial(Architecture, normal=PNASNET, reduction=None)

nasnet_cifar = _network(
    "nasnet_cifar",
    _nasnet(cells=18, filters=32, stem_filters=96, imagenet=False, skips_reduction=False),
    drop_path_keep_prob=0.6,
    total_training_steps=937_500,
    dense_dropout_keep_prob=1.0,
)
nasnet_mobile = _network(
    "nasnet_mobile", _nasnet(cells=12, filters=44, stem_filters=32, skips_reduction=False), drop_path_keep_prob=1.0
)
nasnet_large = _network("nasnet_large", _nasnet(cells=18, filters=168, stem_filters=96), drop_path_keep_prob=0.7)
pnasnet_mobile = _network("pnasnet_mobile", _pnasnet(cells=9, filters=54, stem_filters=32), drop_path_keep_prob=1.0)
pnasnet_large = _network("pnasnet_large", _pnasnet(cells=12, filters=216, stem_filters=96), drop_path_keep_prob=0.6)
