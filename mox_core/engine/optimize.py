"""From losses to updates: gradients for each loss, then one update by each optimizer."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.engine import gradients
from mox_core.engine.updates import OptimizerWrapper, learning_rate_of, scale_learning_rate
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.arguments import GradientOptions
    from mox_core.engine.modelgraph import Loss
    from mox_core.engine.variables import VariableStore
    from mox_core.specs import ModelSpec

LEARNING_RATE_FACTORS: Final = "mox/learning_rate_factors"
"""The collection of scalars with which the learning rate of every optimizer is multiplied, in each step anew."""


def make_train(
    optimizer_fns: Sequence[Callable[[], Any]], store: VariableStore, options: GradientOptions
) -> Callable[[ModelSpec, Sequence[Loss]], tf.Tensor | None]:
    """Returns what adds the ops of one training step to a graph and gives the learning rate.

    Args:
        optimizer_fns: one for each loss, or one that is called for each of them.
        store: where the variables of the optimizers belong.
        options: what the flags say about gradients.
    """

    def train(spec: ModelSpec, losses: Sequence[Loss]) -> tf.Tensor | None:
        if len(optimizer_fns) not in (1, len(losses)):
            msg = (
                f"there are {len(losses)} losses and {len(optimizer_fns)} functions in optimizer_fn: give one, "
                "or one for each loss."
            )
            raise UsageError(msg)
        scopes = gradients.scopes_of(spec, len(losses))
        variables = [
            gradients.variables_of(loss, scope, options.trainable) for loss, scope in zip(losses, scopes, strict=True)
        ]
        scaling = gradients.NoScale() if options.loss_scale == 1 else gradients.LossScale(options.loss_scale)
        # All gradients come before any update: the losses of a GAN see the same weights.
        scaled = [gradients.compute(loss, own, scaling.scale) for loss, own in zip(losses, variables, strict=True)]
        updates = [gradients.clip(scaling.unscale(pairs), options) for pairs in scaled]

        each = optimizer_fns if len(optimizer_fns) == len(losses) else [*optimizer_fns] * len(losses)
        optimizers = [_make(optimizer_fn, store) for optimizer_fn in each]
        if factors := tf.compat.v1.get_collection(LEARNING_RATE_FACTORS):
            factor = functools.reduce(operator.mul, map(tf.convert_to_tensor, factors))
            for optimizer in optimizers:
                scale_learning_rate(optimizer, factor)
        # Before the updates: they move the counter of a Keras optimizer, and a schedule would give the next step's.
        learning_rate = learning_rate_of(optimizers[0])
        scaling.apply(optimizers, updates)
        return learning_rate

    return train


def _make(optimizer_fn: Callable[[], Any], store: VariableStore) -> Any:
    optimizer = optimizer_fn()
    if isinstance(optimizer, type) or not hasattr(optimizer, "apply_gradients"):
        msg = (
            f"optimizer_fn returned {optimizer!r}. It returns an optimizer: mox.get_optimizer_fn(...)(), "
            "a tf.compat.v1.train optimizer, or a Keras optimizer."
        )
        raise UsageError(msg)
    # Optimizers of Keras make variables when they are made; TF1's do so when they are applied.
    variables = getattr(optimizer, "variables", ())
    own = {id(variable) for variable in store.by_name.values()}
    if not callable(variables) and any(id(getattr(each, "value", each)) not in own for each in variables):
        while isinstance(optimizer, OptimizerWrapper):
            optimizer = optimizer.optimizer
        kind = type(optimizer).__name__
        msg = (
            f"optimizer_fn returned an optimizer that was made outside of it ({kind}): its state would not be saved, "
            f"and another run would go on with it. Make it inside: optimizer_fn=lambda: {kind}(...)."
        )
        raise UsageError(msg)
    return optimizer
