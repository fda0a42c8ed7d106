"""From losses to updates: gradients for each loss, then one update by each optimizer."""

from __future__ import annotations

import contextlib
import functools
import operator
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field

from mox_core.engine import copies, gradients
from mox_core.engine.updates import (
    OptimizerWrapper,
    averages_workers,
    independent_workers,
    learning_rate_of,
    meeting,
    scale_learning_rate,
)
from mox_core.engine.workers import mean_of_all
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
        losses: list[tf.Tensor],
        scope: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> tuple[list[tf.Tensor], tf.Tensor | None]:
        """Moves the variables of every copy by the means of the gradients.

        Args:
            computed: for each copy what `gradients_of` returned.
            losses: the means of each loss over the copies.
            scope: in which variables come from the store.

        Returns:
            The losses, as their means over all workers where these step together, and the learning rate.
        """
        replicator, store = self.state.replicator, self.state.store
        means = [replicator.mean(of_loss) for of_loss in zip(*computed, strict=True)]
        means, losses = self._over_workers(means, losses)
        learning_rate = None
        for copy, device in enumerate(replicator.devices):
            updates = [gradients.clip(self._scaling.unscale(mean[copy]), self.options) for mean in means]
            place = tf.device(device) if device else contextlib.nullcontext()
            with place, store.optimizers_of(copy, scope), meeting(replicator.peers):
                optimizers = self._optimizers(len(updates))
                if copy == 0:
                    # Before the updates: they move the counter of a Keras optimizer, and a schedule would give the
                    # next step's.
                    learning_rate = learning_rate_of(optimizers[0])
                self._scaling.apply(optimizers, updates)
        self._scaling.end()
        return losses, learning_rate

    def _over_workers(
        self, means: list[list[gradients.Pairs]], losses: list[tf.Tensor]
    ) -> tuple[list[list[gradients.Pairs]], list[tf.Tensor]]:
        """Returns gradients and losses as means over all workers, where these step together.

        Moving averages that `model_fn` has moved become those of all workers too: it all goes in one sum.
        """
        peers = self.state.replicator.peers
        if peers.number == 1 or not peers.together:
            return means, losses
        moved = self.state.store.moved(tf.compat.v1.get_default_graph())
        gradients_ = [gradient for of_loss in means for gradient, _ in of_loss[0]]
        shared = iter(mean_of_all(peers, [*gradients_, *losses, *(variable.read_value() for variable in moved)]))
        of_losses = [[next(shared) for _ in of_loss[0]] for of_loss in means]
        losses = [next(shared) for _ in losses]
        for variable in moved:
            variable.assign(next(shared))
        return [
            [[(mean, variable) for mean, (_, variable) in zip(of_loss, copy, strict=True)] for copy in copies_]
            for of_loss, copies_ in zip(of_losses, means, strict=True)
        ], losses

    def _optimizers(self, count: int) -> list[Any]:
        """Makes an optimizer for each loss, with the learning rate that hooks want."""
        functions = self.optimizer_fns if len(self.optimizer_fns) == count else [*self.optimizer_fns] * count
        optimizers = [_make(optimizer_fn, self.state.store) for optimizer_fn in functions]
        for optimizer in optimizers:
            self.state.replicator.prepare(optimizer)
        if independent_workers() > 1:
            self._check_meeting(optimizers)
        if self._factors:
            factor = functools.reduce(operator.mul, map(tf.convert_to_tensor, self._factors))
            for optimizer in optimizers:
                scale_learning_rate(optimizer, factor)
        return optimizers

    def _check_meeting(self, optimizers: Sequence[Any]) -> None:
        """Refuses what workers on their own cannot do."""
        if not all(map(averages_workers, optimizers)):
            raise UsageError(
                "--sync_replicas=False without --ps_hosts: the workers step on their own, and nothing in optimizer_fn "
                "brings them together. Put mox.get_optimizer_wrapper_fn('batch_gradients', ...) or 'easgd' around the "
                "optimizer, name parameter servers in --ps_hosts, or leave --sync_replicas out."
            )
        if self.options.loss_scale != 1:
            raise UsageError(
                f"--loss_scale={self.options.loss_scale} skips steps, and workers that step on their own would skip "
                "others and wait for each other for ever: leave it out, or leave --sync_replicas out."
            )


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
