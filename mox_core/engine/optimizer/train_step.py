"""One step of training: gradients of each loss for each replica, then an update by each optimizer."""

from __future__ import annotations

import contextlib
import functools
import operator
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field

from mox_core.engine import randomness
from mox_core.engine.distribute.collectives import all_reduce_mean
from mox_core.engine.optimizer import gradients
from mox_core.engine.optimizer.borrowed import Surroundings
from mox_core.engine.optimizer.complete import completed, innermost
from mox_core.engine.optimizer.gradients import Target
from mox_core.engine.optimizer.loss_scale import LossScale, NoLossScale, unscaled
from mox_core.engine.optimizer.unfreezing import UNFREEZING, Stages, Unfreezing
from mox_core.engine.optimizer.wrappers import (
    OptimizerWrapper,
    averages_workers,
    collective_scope,
    independent_workers,
    scale_learning_rate,
)
from mox_core.engine.tf_internals import replica_collections
from mox_core.engine.tf_internals.optimizers import learning_rate_of
from mox_core.engine.tf_internals.variables import local_parts
from mox_core.errors import UsageError
from mox_core.name_filter import NameFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mox_core.arguments import GradientOptions
    from mox_core.engine.optimizer.gradients import Loss
    from mox_core.engine.tensors import GradsAndVars
    from mox_core.engine.variables.run_state import RunState
    from mox_core.engine.variables.store import VariableStore
    from mox_core.specs import ModelSpec

LEARNING_RATE_FACTORS: Final = "mox/learning_rate_factors"
"""The collection of scalars by which the learning rate of every optimizer is multiplied, in each step anew."""


class NoTrainStep:
    """The step of a graph that is not trained."""

    trains = False
    frozen = NameFilter()

    def begin(self) -> None:
        """Make nothing."""

    def targets_of(self, spec: ModelSpec, losses: Sequence[Loss]) -> list[Target]:
        """Return nothing to train."""
        del spec, losses
        return []

    def apply(
        self,
        targets: Sequence[Sequence[Target]],
        losses: list[tf.Tensor],
        scope: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> tuple[list[tf.Tensor], tf.Tensor | None]:
        """Update nothing."""
        del targets, scope
        return losses, None


@define
class TrainStep:
    """The operations of one training step, added to a graph.

    Attributes:
        optimizer_fns: one function for each loss, or one that is called for each of them.
        state: where the variables of the optimizers belong, and on which devices the replicas are.
        options: what the flags say about gradients.
    """

    trains = True

    optimizer_fns: Sequence[Callable[[], Any]]
    state: RunState
    options: GradientOptions
    _loss_scale: NoLossScale | LossScale = field(init=False)
    _factors: list[Any] | None = field(default=None, init=False)
    _unfreezing: Unfreezing = field(factory=Unfreezing, init=False)

    @property
    def frozen(self) -> NameFilter:
        """What the flags choose: what they do not choose stands still."""
        return self.options.trainable

    def begin(self) -> None:
        """Make what all replicas share, before the first of them is traced."""
        scale = self.options.loss_scale
        self._loss_scale = NoLossScale() if scale == 1 else LossScale(scale)
        self._factors = None
        self.state.store.begin_optimizers()

    def targets_of(self, spec: ModelSpec, losses: Sequence[Loss]) -> list[Target]:
        """Return each loss of one replica with the variables that it trains."""
        if len(self.optimizer_fns) not in (1, len(losses)):
            raise UsageError(
                f"there are {len(losses)} losses and {len(self.optimizer_fns)} functions in optimizer_fn: give one, "
                "or one for each loss."
            )
        if self._factors is None:  # each replica adds the same factors: those of the first count
            graph = tf.compat.v1.get_default_graph()
            self._factors = replica_collections.collection_of_replica(graph, LEARNING_RATE_FACTORS)
            steps = tuple(replica_collections.collection_of_replica(graph, UNFREEZING))
            self._unfreezing = Unfreezing(self.options.trainable, steps)
            self._unfreezing.check(gradients.trainable_variables())
        scopes = gradients.scopes_of(spec, len(losses))
        variables = [
            gradients.variables_of(loss, scope, self.options.trainable, self._unfreezing)
            for loss, scope in zip(losses, scopes, strict=True)
        ]
        return [Target(loss, own) for loss, own in zip(losses, variables, strict=True)]

    def apply(
        self,
        targets: Sequence[Sequence[Target]],
        losses: list[tf.Tensor],
        scope: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> tuple[list[tf.Tensor], tf.Tensor | None]:
        """Compute the gradients of every replica, and update its variables by their means.

        Args:
            targets: for each replica what `targets_of` returned.
            losses: the mean of each loss over the replicas.
            scope: returns the scope of the store in the present trace.

        Returns:
            The losses, averaged over all workers where these step together, and the learning rate.
        """
        replicator = self.state.replicator
        with self._optimizer_scope(0, scope, "making"):
            optimizers = self._optimizers(targets[0], losses, 0)
            # Before the updates: they advance the counter of a Keras optimizer, and a schedule would give the rate of
            # the next step.
            learning_rate = learning_rate_of(optimizers[0])
        scales = [innermost(optimizer).scale for optimizer in optimizers]
        # All gradients come before any update: the losses of a GAN see the same weights.
        computed = replicator.run(lambda replica: self._gradients(targets[replica], scales))
        means = [replicator.reduce_mean(of_loss) for of_loss in zip(*computed, strict=True)]
        means, losses = self._average_workers(means, losses)
        for replica in range(len(replicator.devices)):
            if replica:
                with self._optimizer_scope(replica, scope, "making"):
                    optimizers = self._optimizers(targets[0], losses, replica)
            with self._optimizer_scope(replica, scope, "applying"):
                self._loss_scale.apply(
                    optimizers,
                    [
                        self._as_applied(mean[replica], scale, innermost(optimizer).stages)
                        for mean, scale, optimizer in zip(means, scales, optimizers, strict=True)
                    ],
                )
            if not replica:
                self._note_finish(optimizers)
        self._loss_scale.end()
        return losses, learning_rate

    def _note_finish(self, optimizers: Sequence[Any]) -> None:
        """Keep what optimizers do with the weights at the end; those of other replicas would do the same."""
        for optimizer in optimizers:
            for finish in innermost(optimizer).finishes():
                self.state.final_weights.add(finish)

    def _gradients(self, targets: Sequence[Target], scales: Sequence[tf.Tensor | None]) -> list[GradsAndVars]:
        """Return the gradients of each loss of one replica, with their variables: scaled twice."""

        def scale(loss: tf.Tensor, own: tf.Tensor | None) -> tf.Tensor:
            loss = self._loss_scale.scale(loss)
            return loss if own is None else loss * tf.cast(own, loss.dtype)

        return [
            gradients.compute(target, functools.partial(scale, own=own))
            for target, own in zip(targets, scales, strict=True)
        ]

    def _as_applied(self, pairs: GradsAndVars, scale: tf.Tensor | None, stages: Stages | None) -> GradsAndVars:
        """Return mean gradients as optimizers and wrappers are given them: without any scale, and clipped."""
        pairs = self._loss_scale.unscale(pairs)
        pairs = pairs if scale is None else unscaled(pairs, scale)
        return gradients.clip(pairs if stages is None else stages.masked(pairs), self.options)

    @contextlib.contextmanager
    def _optimizer_scope(
        self, replica: int, scope: Callable[[], contextlib.AbstractContextManager[None]], what: str
    ) -> Iterator[None]:
        """Enter what is around the optimizers of a replica, in the block.

        Their random numbers are the same on all replicas, and on all workers that step together: weights stay the same.
        """
        replicator, graph = self.state.replicator, tf.compat.v1.get_default_graph()
        collective, device = replicator.collective, replicator.devices[replica]
        worker = 0 if collective.synchronous else collective.rank
        with (
            tf.device(device) if device else contextlib.nullcontext(),
            self.state.store.optimizers_of(replica, scope),
            replica_collections.seen_by_replica(graph, replica),
            collective_scope(collective),
            randomness.seeded(
                f"{self.state.seed}/optimizers/{what}/{worker}", self.state.step.read_value(), graph=graph
            ),
        ):
            yield

    def _average_workers(
        self, means: list[list[GradsAndVars]], losses: list[tf.Tensor]
    ) -> tuple[list[list[GradsAndVars]], list[tf.Tensor]]:
        """Return gradients and losses averaged over all workers, where these step together.

        Moving averages that `model_fn` has updated are averaged too.
        """
        collective = self.state.replicator.collective
        if collective.world_size == 1 or not collective.synchronous:
            return means, losses
        moved = self.state.store.moved(tf.compat.v1.get_default_graph())
        own = [gradient for of_loss in means for gradient, _ in of_loss[0]]
        averages = [variable.read_value() for variable in moved]
        shared = iter(all_reduce_mean(collective, [*own, *losses, *averages]))
        of_losses = [[next(shared) for _ in of_loss[0]] for of_loss in means]
        losses = [next(shared) for _ in losses]
        for variable in moved:
            variable.assign(next(shared))
        return [
            [[(mean, variable) for mean, (_, variable) in zip(of_loss, own, strict=True)] for own in replicas]
            for of_loss, replicas in zip(of_losses, means, strict=True)
        ], losses

    def _optimizers(self, targets: Sequence[Target], losses: Sequence[tf.Tensor], replica: int) -> list[Any]:
        """Make an optimizer for each loss, with the learning rate that hooks want."""
        count, store = len(targets), self.state.store
        functions = self.optimizer_fns if len(self.optimizer_fns) == count else [*self.optimizer_fns] * count
        optimizers = [completed(_make(optimizer_fn, store), store.constraint_of) for optimizer_fn in functions]
        for optimizer, target, loss in zip(optimizers, targets, losses, strict=True):
            self.state.replicator.prepare_optimizer(optimizer)
            parts = [local_parts(each) for each in target.variables]
            stages = self._stages(target, [each[replica] for each in parts])
            others = [part.handle for each in parts for part in each if part is not each[replica]]
            collective = self.state.replicator.collective
            where = Surroundings(
                graph=tf.compat.v1.get_default_graph(),
                foreign=frozenset(map(id, others)),
                several=bool(others) or (collective.synchronous and collective.world_size > 1),
                branches=int(self.options.loss_scale != 1) + int(stages is not None),
            )
            innermost(optimizer).prepare(loss, [each[replica] for each in parts], where, stages)
        if independent_workers() > 1:
            self._check_averaging(optimizers)
        if self._factors:
            factor = functools.reduce(operator.mul, map(tf.convert_to_tensor, self._factors))
            for optimizer in optimizers:
                scale_learning_rate(optimizer, factor)
        return optimizers

    def _stages(self, target: Target, parts: Sequence[tf.Variable]) -> Stages | None:
        """Return from which steps on the variables of a loss are trained; None where all are from the beginning."""
        starts = {
            id(part): start
            for variable, part in zip(target.variables, parts, strict=True)
            if (start := self._unfreezing.start_of(variable)) is not None
        }
        return Stages(starts, self.state.step.read_value()) if starts else None

    def _check_averaging(self, optimizers: Sequence[Any]) -> None:
        """Refuse what workers that step on their own cannot do."""
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
        raise UsageError(
            f"optimizer_fn returned {optimizer!r}. It returns an optimizer: mox.get_optimizer_fn(...)(), "
            "a tf.compat.v1.train optimizer, or a Keras optimizer."
        )
    # Optimizers of Keras make variables when they are made; TF1's do so when they are applied.
    variables = getattr(optimizer, "variables", ())
    own = store.known()
    if not callable(variables) and any(id(getattr(each, "value", each)) not in own for each in variables):
        while isinstance(optimizer, OptimizerWrapper):
            optimizer = optimizer.optimizer
        kind = type(optimizer).__name__
        raise UsageError(
            f"optimizer_fn returned an optimizer that was made outside of it ({kind}): its state would not be saved, "
            f"and another run would go on with it. Make it inside: optimizer_fn=lambda: {kind}(...)."
        )
    return optimizer
