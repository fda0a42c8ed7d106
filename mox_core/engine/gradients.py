"""From losses to the gradients that optimizers get: whose variables, how scaled, how clipped."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any, cast

import tensorflow as tf

from mox_core.engine.state import SKIPPED_STEPS
from mox_core.engine.typed import map_values
from mox_core.engine.updates import apply_if, state_variable
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.arguments import GradientOptions
    from mox_core.engine.calls import Loss
    from mox_core.patterns import Choice
    from mox_core.specs import ModelSpec

Pairs = list[tuple[Any, tf.Variable]]
"""Gradients, dense or sparse, with their variables."""

# As in Keras's LossScaleOptimizer. (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2, leave the numbers open.)
_FIRST_SCALE, _FACTOR, _STEPS_TO_GROW = 2.0**15, 2.0, 2000


def scopes_of(spec: ModelSpec, count: int) -> list[Sequence[str] | None]:
    """Returns the variable scopes of each loss, None for all variables."""
    if spec.var_scopes is None:
        return [None] * count
    several = isinstance(spec.loss, (list, tuple))
    return cast("list[Sequence[str] | None]", list(spec.var_scopes) if several else [spec.var_scopes])


def variables_of(loss: Loss, scopes: Sequence[str] | None, trainable: Choice) -> list[tf.Variable]:
    """Returns the variables that a loss moves.

    Raises:
        UsageError: where there are none.
    """
    graph = tf.compat.v1.get_default_graph()
    known = list({id(v): v for v in graph.get_collection(tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES)}.values())
    inside = [v for v in known if scopes is None or any(_within(v.name, scope) for scope in scopes)]
    if not inside:
        where = "model_fn" if scopes is None else f"the variable scopes {list(scopes)!r}"
        first_parts = sorted({v.name.partition(":")[0].partition("/")[0] for v in known})
        raise UsageError(
            f"{loss.name}: there is no trainable variable in {where}. Scopes with variables: "
            f"{', '.join(first_parts) or 'none'}."
        )
    chosen = [v for v in inside if trainable(v.name.partition(":")[0])]
    if not chosen:
        names = ", ".join(v.name.partition(":")[0] for v in inside[:5])
        raise UsageError(
            f"{loss.name}: --trainable_include_patterns={','.join(trainable.include)} and "
            f"--trainable_exclude_patterns={','.join(trainable.exclude)} leave no variable to train. "
            f"Variables are called {names}{', ...' * (len(inside) > 5)}."  # noqa: PLR2004  (enough to see the form)
        )
    return chosen


def _within(name: str, scope: str) -> bool:
    return name.startswith(scope.rstrip("/") + "/")


def compute(loss: Loss, variables: Sequence[tf.Variable], scale: Callable[[tf.Tensor], tf.Tensor]) -> Pairs:
    """Returns the gradients of a loss, scaled, with those of the variables that it depends on.

    Raises:
        UsageError: where it depends on none of them.
    """
    gradients = tf.gradients(scale(loss.tensor), variables)
    pairs = [(gradient, own) for gradient, own in zip(gradients, variables, strict=True) if gradient is not None]
    if not pairs:
        names = ", ".join(v.name for v in variables[:5])
        msg = f"{loss.name} does not depend on any of its variables ({names}): its gradient is nothing everywhere."
        raise UsageError(msg)
    return pairs


def clip(pairs: Pairs, options: GradientOptions) -> Pairs:
    """Returns the gradients of one loss, made smaller where they are larger than the flags allow."""
    gradients, variables = [gradient for gradient, _ in pairs], [variable for _, variable in pairs]
    if options.clip_type == "norm":  # Pascanu, Mikolov, Bengio 2013, arXiv 1211.5063, algorithm 1
        gradients, _ = tf.clip_by_global_norm(gradients, options.clip)
    elif options.clip_type == "value":
        limited = functools.partial(map_values, lambda values: tf.clip_by_value(values, -options.clip, options.clip))
        gradients = [limited(gradient) for gradient in gradients]
    return list(zip(gradients, variables, strict=True))


class NoScale:
    """No loss scaling."""

    def scale(self, loss: tf.Tensor) -> tf.Tensor:
        """Returns the loss as it is."""
        return loss

    def unscale(self, pairs: Pairs) -> Pairs:
        """Returns the gradients as they are."""
        return pairs

    def end(self) -> None:
        """Has nothing to learn from a step."""

    def apply(self, optimizers: Sequence[Any], updates: Sequence[Pairs]) -> None:
        """Applies every optimizer to its gradients."""
        for optimizer, pairs in zip(optimizers, updates, strict=True):
            optimizer.apply_gradients(pairs)


class LossScale:
    """Losses are multiplied, gradients divided again; a step whose gradients are not finite is skipped, and counted.

    So gradients that float16 would round to zero are kept (Micikevicius et al. 2018, arXiv 1710.03740). A dynamic scale
    begins at 32768, is halved with each skipped step, and doubled after 2,000 good ones.

    Args:
        value: the scale, or 'dynamic'.
    """

    def __init__(self, value: float | str) -> None:
        self._dynamic = value == "dynamic"
        self._skipped = state_variable(SKIPPED_STEPS, lambda: tf.constant(0, tf.int64))
        if self._dynamic:
            self._good = state_variable("mox/good_steps", lambda: tf.constant(0, tf.int64))
            self._variable = state_variable("mox/loss_scale", lambda: tf.constant(_FIRST_SCALE))
            self._scale: tf.Tensor = self._variable.read_value()
            tf.summary.scalar("loss_scale", self._scale)
        else:
            self._scale = tf.constant(float(value))

    def scale(self, loss: tf.Tensor) -> tf.Tensor:
        """Returns the loss times the scale."""
        return loss * tf.cast(self._scale, loss.dtype)

    def unscale(self, pairs: Pairs) -> Pairs:
        """Returns the gradients divided by the scale."""
        return [(map_values(lambda values: values / tf.cast(self._scale, values.dtype), g), v) for g, v in pairs]

    def apply(self, optimizers: Sequence[Any], updates: Sequence[Pairs]) -> None:
        """Applies all optimizers, or none where some gradient is not finite."""
        gradients = [gradient for pairs in updates for gradient, _ in pairs]
        tests = [tf.reduce_all(tf.math.is_finite(_values(gradient))) for gradient in gradients]
        finite: tf.Tensor = functools.reduce(operator.and_, tests)
        for optimizer, pairs in zip(optimizers, updates, strict=True):
            apply_if(finite, optimizer, pairs)
        self._finite = finite

    def end(self) -> None:
        """Counts the step, when all copies have been moved, and finds the scale of the next one."""
        finite = self._finite
        self._skipped.assign_add(tf.cast(tf.logical_not(finite), tf.int64))
        if self._dynamic:
            zero = tf.constant(0, tf.int64)
            good = tf.where(finite, self._good + 1, zero)
            grows = good >= _STEPS_TO_GROW
            grown = tf.where(grows, self._scale * _FACTOR, self._scale)
            # It stays finite, and at 1 there is nothing left to win.
            bounded = tf.minimum(grown, tf.float32.max / _FACTOR)
            self._variable.assign(tf.where(finite, bounded, tf.maximum(self._scale / _FACTOR, 1.0)))
            self._good.assign(tf.where(grows, zero, good))


def _values(gradient: Any) -> tf.Tensor:
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
