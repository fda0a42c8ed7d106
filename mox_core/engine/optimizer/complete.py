"""What an optimizer does beside `apply_gradients`, done with it: in the steps in which it is applied, and in no others.

That is what a hand-written loop of TF1 or `fit` of Keras would have it do: a `compute_gradients` or a `minimize` of its
own, the scaling of the loss, and the constraints of variables. It sees the gradients that mox has made: means over all
replicas and workers, without any scale, clipped, and as the wrappers around it have left them.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.optimizer.borrowed import Borrowed, Surroundings
from mox_core.engine.optimizer.gradients import loss_with_gradients, with_unique_rows
from mox_core.engine.optimizer.wrappers import OptimizerWrapper, apply_if
from mox_core.engine.tf_internals import optimizers as internals
from mox_core.engine.tf_internals.branch_gradients import differentiable_through
from mox_core.engine.tf_internals.variables import seen_by_optimizer
from mox_core.engine.variables.final_weights import Finish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mox_core.engine.optimizer.unfreezing import Stages
    from mox_core.engine.tensors import GradsAndVars


def completed(optimizer: Any, constraint_of: Callable[[Any], Any]) -> Any:
    """Return an optimizer, with its wrappers, in which the innermost one is a `CompleteOptimizer`.

    Args:
        optimizer: what `optimizer_fn` returned, which stays as it is: it may be used again.
        constraint_of: returns the constraint of a variable, None for none.
    """
    if not isinstance(optimizer, OptimizerWrapper):
        return CompleteOptimizer(optimizer, constraint_of)
    wrapper = copy.copy(optimizer)
    wrapper.optimizer = completed(optimizer.optimizer, constraint_of)
    return wrapper


def innermost(optimizer: Any) -> CompleteOptimizer:
    """Return the innermost of what `completed` has returned."""
    while not isinstance(optimizer, CompleteOptimizer):
        optimizer = optimizer.optimizer
    return optimizer


class _Step(OptimizerWrapper):
    """A step of a `CompleteOptimizer` for what it is given."""

    optimizer: CompleteOptimizer

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, tf.Variable]]) -> None:
        """Apply it to all of them."""
        self.optimizer.apply_to(list(grads_and_vars))


class CompleteOptimizer(OptimizerWrapper):
    """The innermost optimizer, with what it does beside `apply_gradients`.

    Attributes:
        stages: which of its variables it is applied to in a step; None where it is all of them.
        scale: by what it has losses multiplied before gradients are computed, after `prepare`; None for nothing.
    """

    def __init__(self, optimizer: Any, constraint_of: Callable[[Any], Any]) -> None:
        super().__init__(optimizer)
        self.scale: tf.Tensor | None = None
        self.stages: Stages | None = None
        self._constraint_of = constraint_of
        self._loss = tf.constant(0.0)
        self._variables: list[tf.Variable] = []
        self._where: Surroundings | None = None

    def prepare(
        self, loss: tf.Tensor, variables: list[tf.Variable], where: Surroundings, stages: Stages | None
    ) -> None:
        """Tell it, before any gradient is computed, what it will be applied for.

        Args:
            loss: the mean of its loss over all replicas, the value that a `minimize` of its own sees.
            variables: the variables that the loss trains.
            where: where it will be applied.
            stages: which of the variables it will be applied to in a step; None for all.
        """
        self._loss, self._variables, self._where, self.stages = loss, variables, where, stages
        if internals.loss_scale_of(self.optimizer) is not None:
            self.build(variables)
            self.scale = internals.loss_scale_of(self.optimizer)

    def build(self, variables: list[tf.Variable]) -> None:
        """Make the variables of an optimizer of Keras, outside of the graph: their initial values may be assigned."""
        if internals.is_of_keras(self.optimizer) and not self.optimizer.built:
            with tf.init_scope(), internals.named_for_keras(self.optimizer, variables, building=True):
                self.optimizer.build(variables)

    def constraint_of(self, variable: Any) -> Any:
        """Return the constraint of a variable, which is applied in each update; None for none."""
        return self._constraint_of(variable)

    def finishes(self) -> list[Finish]:
        """Return what it does with the weights when the training is over, after it has been applied.

        The first steps of an accumulation of gradients count for nothing there.
        """

        def finish_of(optimizer: Any) -> Finish:
            variables = internals.trained_by(optimizer)
            return Finish(variables, optimizer.finalize_variable_values, lambda: int(optimizer.iterations) > 0)

        return [finish_of(each) for each in internals.finishing(self.optimizer)]

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, tf.Variable]]) -> None:
        """Do all that the optimizer does in a step, for these gradients of what is trained in it."""
        pairs = list(grads_and_vars)
        if self.stages is None:
            self.apply_to(pairs)
            return
        self.build([variable for _, variable in pairs])
        for present, trained in self.stages.of(pairs):
            if trained:
                apply_if(present, _Step(self), trained)

    def apply_to(self, pairs: GradsAndVars) -> None:
        """Do all that the optimizer does in a step, for these gradients."""
        if internals.clips(self.optimizer) or internals.has_code_of_its_own(self.optimizer):
            pairs = [(with_unique_rows(gradient), variable) for gradient, variable in pairs]
        self.build([variable for _, variable in pairs])
        itself = internals.applies_constraints(self.optimizer)
        left = [variable for gradient, variable in pairs if not itself or self._refuses_constraint(gradient)]
        left_ids = set(map(id, left))
        constraint_of = self._constraint_of
        seen = [variable for _, variable in pairs]
        with (
            seen_by_optimizer(seen, lambda each: None if id(each) in left_ids else constraint_of(each)),
            internals.named_for_keras(self.optimizer, seen),
        ):
            self._apply_checked(pairs)
        for variable in left:
            if (constraint := constraint_of(variable)) is not None:
                variable.assign(constraint(variable))

    def _refuses_constraint(self, gradient: Any) -> bool:
        """Whether it takes no constraint for a variable with this gradient: TF1's do not where it is sparse."""
        return isinstance(gradient, tf.IndexedSlices) and not internals.is_of_keras(self.optimizer)

    def _apply_checked(self, pairs: GradsAndVars) -> None:
        """Apply the optimizer; what code of its own takes from `model_fn` has its gradient too, or is refused."""
        if self._where is None or not internals.has_code_of_its_own(self.optimizer):
            self._apply(pairs)
            return
        given = [self._loss, *tf.nest.flatten([gradient for gradient, _ in pairs], expand_composites=True)]
        rate = internals.learning_rate_of(self.optimizer)
        borrowed = Borrowed(self._where, given if rate is None else [*given, rate])
        with differentiable_through(self._where.graph):
            self._apply(pairs)
        borrowed.check(type(internals.inside(self.optimizer)).__name__)

    def _apply(self, pairs: GradsAndVars) -> None:
        optimizer, variables = self.optimizer, self._variables
        if internals.replaces_minimize(optimizer):
            optimizer.minimize(loss_with_gradients(self._loss, pairs), var_list=variables)
        elif internals.replaces_gradients(optimizer):
            loss = loss_with_gradients(self._loss, pairs)
            optimizer.apply_gradients(optimizer.compute_gradients(loss, var_list=variables))
        elif self.scale is not None:
            loss, own = loss_with_gradients(self._loss, pairs), [variable for _, variable in pairs]
            optimizer.apply_gradients(zip(tf.gradients(optimizer.scale_loss(loss), own), own, strict=True))
        else:
            optimizer.apply_gradients(pairs)
