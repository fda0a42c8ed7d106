"""From losses to the gradients that optimizers get: of which variables, scaled and clipped."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

import tensorflow as tf
from attrs import frozen

from mox_core.engine.tensors import map_values
from mox_core.errors import UsageError
from mox_core.name_lists import counted
from mox_core.name_patterns import check_matches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.arguments import GradientOptions
    from mox_core.engine.optimizer.unfreezing import Unfreezing
    from mox_core.engine.tensors import GradsAndVars
    from mox_core.name_filter import NameFilter
    from mox_core.specs import ModelSpec


@frozen
class Loss:
    """A loss and the name under which messages speak of it."""

    name: str
    tensor: tf.Tensor


@frozen
class Target:
    """A loss of one replica, and the variables that it trains."""

    loss: Loss
    variables: list[tf.Variable]


def scopes_of(spec: ModelSpec, count: int) -> list[Sequence[str] | None]:
    """Return the variable scopes of each loss, None for all variables."""
    if spec.var_scopes is None:
        return [None] * count
    several = isinstance(spec.loss, (list, tuple))
    return cast("list[Sequence[str] | None]", list(spec.var_scopes) if several else [spec.var_scopes])


def trainable_variables() -> list[tf.Variable]:
    """Return the variables of the default graph that can be trained, each once."""
    graph = tf.compat.v1.get_default_graph()
    return list({id(v): v for v in graph.get_collection(tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES)}.values())


def variables_of(
    loss: Loss, scopes: Sequence[str] | None, trainable: NameFilter, unfreezing: Unfreezing
) -> list[tf.Variable]:
    """Return the variables that a loss trains.

    Args:
        loss: the loss, for errors.
        scopes: the variable scopes that the loss trains; None for all.
        trainable: what the flags choose of them.
        unfreezing: what is trained besides, from some step on.

    Raises:
        UsageError: if there are none, or a pattern of the flags matches nothing.
    """
    known = trainable_variables()
    inside = [v for v in known if scopes is None or any(_within(v.name, scope) for scope in scopes)]
    if not inside:
        where = "model_fn" if scopes is None else f"the variable scopes {list(scopes)!r}"
        first_parts = sorted({v.name.partition(":")[0].partition("/")[0] for v in known})
        raise UsageError(
            f"{loss.name}: there is no trainable variable in {where}. Scopes with variables: "
            f"{', '.join(first_parts) or 'none'}."
        )
    names_of_all = [v.name.partition(":")[0] for v in known]
    for flag, patterns in (("include", trainable.include), ("exclude", trainable.exclude)):
        for pattern in patterns:
            check_matches(pattern, names_of_all, f"--trainable_{flag}_patterns")
    chosen = [v for v in inside if trainable(v.name.partition(":")[0]) or unfreezing.start_of(v) is not None]
    if not chosen:
        raise UsageError(
            f"{loss.name}: --trainable_include_patterns={','.join(trainable.include)} and "
            f"--trainable_exclude_patterns={','.join(trainable.exclude)} leave no variable to train. "
            f"Variables are called {counted([v.name.partition(':')[0] for v in inside], 5)}."
        )
    return chosen


def _within(name: str, scope: str) -> bool:
    return name.startswith(scope.rstrip("/") + "/")


def compute(target: Target, scale: Callable[[tf.Tensor], tf.Tensor]) -> GradsAndVars:
    """Return the gradients of a scaled loss, with the variables that it depends on.

    Raises:
        UsageError: if it depends on none of them.
    """
    loss, variables = target.loss, target.variables
    gradients = tf.gradients(scale(loss.tensor), variables)
    pairs = [(gradient, own) for gradient, own in zip(gradients, variables, strict=True) if gradient is not None]
    if not pairs:
        names = counted([v.name for v in variables], 5)
        raise UsageError(
            f"{loss.name} does not depend on any of its variables ({names}): its gradient is nothing everywhere."
        )
    return pairs


def clip(pairs: GradsAndVars, options: GradientOptions) -> GradsAndVars:
    """Return the gradients of one loss, clipped as the flags say."""
    if not options.clip_type:
        return pairs
    gradients, variables = [with_unique_rows(gradient) for gradient, _ in pairs], [variable for _, variable in pairs]
    if options.clip_type == "norm":  # Pascanu, Mikolov, Bengio 2013, arXiv 1211.5063, algorithm 1
        gradients, _ = tf.clip_by_global_norm(gradients, options.clip)
    else:
        limited = functools.partial(map_values, lambda values: tf.clip_by_value(values, -options.clip, options.clip))
        gradients = [limited(gradient) for gradient in gradients]
    return list(zip(gradients, variables, strict=True))


def loss_with_gradients(loss: tf.Tensor, pairs: GradsAndVars) -> tf.Tensor:
    """Return a scalar with the value of a loss whose gradients are those given, exactly.

    So what computes gradients of a loss by itself is given those of all replicas and workers, as they are by then.

    Args:
        loss: the loss, whose own dependencies do not count.
        pairs: gradients with their variables.
    """
    dtype = tf.float64 if loss.dtype == tf.float64 else tf.float32
    terms = [tf.cast(_zero_with_gradient(gradient, variable), dtype) for gradient, variable in pairs]
    return tf.stop_gradient(tf.cast(loss, dtype)) + tf.add_n(terms)


def with_unique_rows(gradient: Any) -> Any:
    """Return a gradient in which no row occurs twice: what the slices of a row say is added up."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    indices, places = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(indices))
    return tf.IndexedSlices(values, indices, gradient.dense_shape)


def _zero_with_gradient(gradient: Any, variable: tf.Variable) -> tf.Tensor:
    if isinstance(gradient, tf.IndexedSlices):
        values, read = gradient.values, tf.gather(variable, gradient.indices)
    else:
        values, read = gradient, tf.convert_to_tensor(variable)
    return tf.reduce_sum(tf.stop_gradient(tf.cast(values, read.dtype)) * (read - tf.stop_gradient(read)))
