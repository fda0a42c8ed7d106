"""SGD whose momentum moves against its learning rate, after MoXing's optimizers of the same names.

The original published names and arguments only, and one program that uses them: ImageNet in ten minutes. Inferred is
the rule between the bounds, see `DyMomentumOptimizer`.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

import mox_core as mox
from mox_core.errors import UsageError
from mox_core.sdk import OptimizerWrapper, learning_rate_of
from mox_optimizers import checks
from mox_optimizers.learning_rates import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mox_optimizers.learning_rates import LearningRate

    Pairs = Iterable[tuple[tf.Tensor, tf.Variable]]


_TWICE: Final = (
    "DyMomentumOptimizer: with use_lars=True, weight_decay=%s decays weights, and model_fn has made regularization "
    "losses too. If its loss holds them, weights decay twice: pass weight_decay=0."
)
_NEVER: Final = (
    "DyMomentumOptimizer: weight_decay=%s has no effect without use_lars, and model_fn has put no losses into the "
    "collection REGULARIZATION_LOSSES. Add them to the loss, or use mox.DyMomentumWOptimizer."
)


class _DynamicMomentum(OptimizerWrapper):
    """Momentum that depends on the learning rate: the optimizer of TensorFlow, in LARS if that is wanted."""

    def __init__(  # noqa: PLR0913, PLR0917  (the original's arguments)
        self,
        lr: LearningRate,
        max_lr: float,
        min_lr: float,
        max_mom: float = 0.98,
        min_mom: float = 0.85,
        global_step: Any = None,
        max_iteration: int | None = None,
        use_nesterov: bool = False,  # noqa: FBT001, FBT002
        cooldown: float = 0.0,
        use_lars: bool = False,  # noqa: FBT001, FBT002
        weight_decay: float = 0.0,
    ) -> None:
        name = type(self).__name__
        _check_bounds(name, max_lr=max_lr, min_lr=min_lr, max_mom=max_mom, min_mom=min_mom)
        if not checks.is_number(weight_decay) or weight_decay < 0:
            raise UsageError(f"{name}: weight_decay is {weight_decay!r}; it must be a number, 0 or more.")
        rate = resolve(lr)
        cooling = _cooling(name, cooldown, global_step, max_iteration)
        height = tf.clip_by_value((tf.cast(rate, tf.float64) - min_lr) / (max_lr - min_lr), 0.0, 1.0)
        momentum = max_mom - (max_mom - min_mom) * tf.where(cooling, tf.zeros([], tf.float64), height)
        self._momentum = tf.cast(momentum, tf.float32)
        self._weight_decay = float(weight_decay)
        optimizer: Any = tf.compat.v1.train.MomentumOptimizer(rate, self._momentum, use_nesterov=use_nesterov)
        decay = self._decay_in_lars(use_lars=use_lars)
        if use_lars:
            optimizer = mox.get_optimizer_wrapper_fn("lars", optimizer, weight_decay=decay)()
        super().__init__(optimizer)

    def get_momentum(self) -> tf.Tensor:
        """Return the momentum of this step, float32 scalar."""
        return self._momentum

    @abc.abstractmethod
    def _decay_in_lars(self, *, use_lars: bool) -> float:
        """Return by how much weights decay in LARS."""


class DyMomentumOptimizer(_DynamicMomentum):
    """SGD with a momentum that is high where the learning rate is low, and low where it is high.

    With the learning rate lr of a step, the momentum m, the velocity v of each variable w and its gradient g:

        m = max_mom - (max_mom - min_mom) * (lr - min_lr) / (max_lr - min_lr), between min_mom and max_mom
        v = m * v + g
        w = w - lr * v, and with use_nesterov w = w - lr * (g + m * v)

    So lr / (1 - m), the length of a step in the long run, changes less than lr does. A step that follows a change of
    the rate needs no correction of v, which holds no rate (what Lin et al. 2019, arXiv 1904.12043, has to smooth). In
    the last `cooldown` of the training m stays at max_mom.

    The rule is inferred: no source of the original has it. It is the one of the one-cycle policy (Smith 2018, arXiv
    1803.09820, section 4.3), and gives the bounds their meaning. v is the slot `<variable>/Momentum`, as that of
    'momentum'; m is computed from lr, so that a resumed run goes on with it.

    Args:
        lr: the learning rate, as `mox.get_optimizer_fn` takes it: `linear_cosine_decay(...)`, for instance.
        max_lr: the rate at which the momentum is min_mom.
        min_lr: the rate at which it is max_mom; below max_lr.
        max_mom: the highest momentum. Its default, and that of min_mom, are those of the original's program.
        min_mom: the lowest momentum.
        global_step: the step that `cooldown` looks at; by default the global step of the run.
        max_iteration: the steps of the whole training; needed with `cooldown`.
        use_nesterov: whether the update looks ahead by one velocity.
        cooldown: the part of max_iteration, at its end, in which the momentum is max_mom whatever the rate.
        use_lars: whether gradients go through LARS before (needs mox-lars), with its own ratio and exclusions.
        weight_decay: the decay of weights in LARS. It has no effect without `use_lars`, where regularization losses
            are part of the loss, or `DyMomentumWOptimizer` decays weights.

    Raises:
        UsageError: if an argument is not allowed.
    """

    def _decay_in_lars(self, *, use_lars: bool) -> float:
        regularized = bool(tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES))
        if self._weight_decay and use_lars == regularized:
            _warn_once(_TWICE if use_lars else _NEVER, self._weight_decay)
        return self._weight_decay


class DyMomentumWOptimizer(_DynamicMomentum):
    """`DyMomentumOptimizer` with weight decay that goes past gradients: Loshchilov, Hutter 2019 (arXiv 1711.05101).

    Beside the update of DyMomentumOptimizer, computed from the same weights,

        w = w - lr * weight_decay * w

    for all variables that are trained, as Keras's `weight_decay` does: the schedule multiplier of the paper is the
    learning rate. It takes the place of regularization losses: leave those out of the loss. In LARS nothing decays.

    Args, defaults and errors are those of `DyMomentumOptimizer`, but that weight_decay always has an effect.
    """

    def _decay_in_lars(self, *, use_lars: bool) -> float:
        del use_lars
        return 0.0

    def apply_gradients(self, grads_and_vars: Pairs) -> None:
        """Update the variables of one step, and decay the weights that it began with."""
        pairs = list(grads_and_vars)
        rate: Any = learning_rate_of(self.optimizer)  # as a hook may have scaled it
        decays = [
            tf.cast(tf.cast(rate, tf.float32) * self._weight_decay, each.dtype) * each.read_value() for _, each in pairs
        ]
        self.optimizer.apply_gradients(pairs)
        for decay, (_, variable) in zip(decays, pairs, strict=True):
            variable.assign_sub(decay)


def _warn_once(text: str, weight_decay: float) -> None:
    """Warn once for a graph, and not for each replica."""
    graph = tf.compat.v1.get_default_graph()
    if not graph.get_collection(text):
        graph.add_to_collection(text, value=True)
        tf.get_logger().warning(text, weight_decay)


def _check_bounds(name: str, *, max_lr: float, min_lr: float, max_mom: float, min_mom: float) -> None:
    bounds = {"max_lr": max_lr, "min_lr": min_lr, "max_mom": max_mom, "min_mom": min_mom}
    for argument, value in bounds.items():
        if not checks.is_number(value) or value < 0:
            raise UsageError(f"{name}: {argument} is {value!r}; it must be a number, 0 or more.")
    if min_lr >= max_lr:
        raise UsageError(
            f"{name}: min_lr is {min_lr!r} and max_lr {max_lr!r}; min_lr must be the lower one. For a rate that stays, "
            "use mox.get_optimizer_fn('momentum', ...)."
        )
    if not min_mom <= max_mom < 1:
        raise UsageError(
            f"{name}: min_mom is {min_mom!r} and max_mom {max_mom!r}; min_mom must not be the higher one, and max_mom "
            "must be below 1."
        )


def _cooling(name: str, cooldown: float, global_step: Any, max_iteration: int | None) -> tf.Tensor:
    """Return whether the step belongs to the last part of the training, bool scalar."""
    if not checks.is_number(cooldown) or not 0 <= cooldown < 1:
        raise UsageError(f"{name}: cooldown is {cooldown!r}; it must be a part of max_iteration, below 1.")
    if max_iteration is None and cooldown:
        raise UsageError(f"{name}: cooldown is a part of max_iteration, which is not given: pass the steps of the run.")
    steps = None if max_iteration is None else checks.count(f"{name}: max_iteration", max_iteration)
    if steps is None or not cooldown:
        return tf.constant(value=False)
    step = tf.compat.v1.train.get_or_create_global_step() if global_step is None else global_step
    return tf.cast(step, tf.float64) >= (1 - cooldown) * steps
