"""From losses to the gradients that optimizers get: of which variables, scaled and clipped."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, cast

import tensorflow as tf
from attrs import frozen

from mox_core.engine.tensors import map_values
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.arguments import GradientOptions
    from mox_core.engine.tensors import GradsAndVars
    from mox_core.name_filter import NameFilter
    from mox_core.specs import ModelSpec


@frozen
class Loss:
    """A loss and the name under which messages speak of it."""

    name: str
    tensor: tf.Tensor


def scopes_of(spec: ModelSpec, count: int) -> list[Sequence[str] | None]:
    """Return the variable scopes of each loss, None for all variables."""
    if spec.var_scopes is None:
        return [None] * count
    several = isinstance(spec.loss, (list, tuple))
    return cast("list[Sequence[str] | None]", list(spec.var_scopes) if several else [spec.var_scopes])


def variables_of(loss: Loss, scopes: Sequence[str] | None, trainable: NameFilter) -> list[tf.Variable]:
    """Return the variables that a loss trains.

    Args:
        loss: the loss, for errors.
        scopes: the variable scopes that the loss trains; None for all.
        trainable: what the flags choose of them.

    Raises:
        UsageError: if there are none.
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


def compute(loss: Loss, variables: Sequence[tf.Variable], scale: Callable[[tf.Tensor], tf.Tensor]) -> GradsAndVars:
    """Return the gradients of a scaled loss, with the variables that it depends on.

    Raises:
        UsageError: if it depends on none of them.
    """
    gradients = tf.gradients(scale(loss.tensor), variables)
    pairs = [(gradient, own) for gradient, own in zip(gradients, variables, strict=True) if gradient is not None]
    if not pairs:
        names = ", ".join(v.name for v in variables[:5])
        raise UsageError(
            f"{loss.name} does not depend on any of its variables ({names}): its gradient is nothing everywhere."
        )
    return pairs


def clip(pairs: GradsAndVars, options: GradientOptions) -> GradsAndVars:
    """Return the gradients of one loss, clipped as the flags say."""
    gradients, variables = [gradient for gradient, _ in pairs], [variable for _, variable in pairs]
    if options.clip_type == "norm":  # Pascanu, Mikolov, Bengio 2013, arXiv 1211.5063, algorithm 1
        gradients, _ = tf.clip_by_global_norm(gradients, options.clip)
    elif options.clip_type == "value":
        limited = functools.partial(map_values, lambda values: tf.clip_by_value(values, -options.clip, options.clip))
        gradients = [limited(gradient) for gradient in gradients]
    return list(zip(gradients, variables, strict=True))
