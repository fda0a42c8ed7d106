"""From losses to updates: gradients for each loss, then one update by each optimizer."""

from __future__ import annotations

import contextlib
import functools
import operator
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field

from mox_core.engine import copies, gradients
from mox_core.engine.updates import OptimizerWrapper, learning_rate_of, scale_learning_rate
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.arguments import GradientOptions
    from mox_core.engine.calls import Loss
    from mox_core.engine.state import RunState
    from mox_core.engine.variables import VariableStore
    from mox_core.specs import ModelSpec

LEARNING_RATE_FACTORS: Final = "mox/learning_rate_factors"
"""The collection of scalars with which the learning rate of every optimizer is multiplied, in each step anew."""


@define
class Training:
    """Adds the ops of one training step to a graph: gradients for each copy of the model, then the updates.

    Attributes:
        optimizer_fns: one for each loss, or one that is called for each of them.
        state: where the variables of the optimizers belong, and on which devices the model is.
        options: what the flags say about gradients.
    """

    optimizer_fns: Sequence[Callable[[], Any]]
    state: RunState
    options: GradientOptions
    _scaling: gradients.NoScale | gradients.LossScale = field(init=False)
    _factors: list[Any] | None = field(default=None, init=False)

    def begin(self) -> None:
        """Makes what all copies share, before the first of them is traced."""
        scale = self.options.loss_scale
        self._scaling = gradients.NoScale() if scale == 1 else gradients.LossScale(scale)
        self._factors = None

    def gradients_of(self, spec: ModelSpec, losses: Sequence[Loss]) -> list[gradients.Pairs]:
        """Returns the gradients of each loss of one copy."""
        if len(self.optimizer_fns) not in (1, len(losses)):
            msg = (
                f"there are {len(losses)} losses and {len(self.optimizer_fns)} functions in optimizer_fn: give one, "
                "or one for each loss."
            )
            raise UsageError(msg)
        if self._factors is None:  # those of one copy: each has made them
            self._factors = copies.collection(tf.compat.v1.get_default_graph(), LEARNING_RATE_FACTORS)
        scopes = gradients.scopes_of(spec, len(losses))
        variables = [
            gradients.variables_of(loss, scope, self.options.trainable)
            for loss, scope in zip(losses, scopes, strict=True)
        ]
        # All gradients come before any update: the losses of a GAN see the same weights.
        return [gradients.compute(loss, own, self._scaling.scale) for loss, own in zip(losses, variables, strict=True)]

    def apply(
        self,
        computed: Sequence[Sequence[gradients.Pairs]],
        scope: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> tf.Tensor | None:
        """Moves the variables of every copy by the means of the gradients, and gives the learning rate.

        Args:
            computed: for each copy what `gradients_of` returned.
            scope: in which variables come from the store.
        """
        replicator, store = self.state.replicator, self.state.store
        means = [replicator.mean(of_loss) for of_loss in zip(*computed, strict=True)]
        learning_rate = None
        for copy, device in enumerate(replicator.devices):
            updates = [gradients.clip(self._scaling.unscale(mean[copy]), self.options) for mean in means]
            with tf.device(device) if device else contextlib.nullcontext(), store.optimizers_of(copy, scope):
                optimizers = self._optimizers(len(updates))
                if copy == 0:
                    # Before the updates: they move the counter of a Keras optimizer, and a schedule would give the
                    # next step's.
                    learning_rate = learning_rate_of(optimizers[0])
                self._scaling.apply(optimizers, updates)
        self._scaling.end()
        return learning_rate

    def _optimizers(self, count: int) -> list[Any]:
        """Makes an optimizer for each loss, with the learning rate that hooks want."""
        functions = self.optimizer_fns if len(self.optimizer_fns) == count else [*self.optimizer_fns] * count
        optimizers = [_make(optimizer_fn, self.state.store) for optimizer_fn in functions]
        if self._factors:
            factor = functools.reduce(operator.mul, map(tf.convert_to_tensor, self._factors))
            for optimizer in optimizers:
                scale_learning_rate(optimizer, factor)
        return optimizers


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
    own = store.known()
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
