"""From losses to updates: gradients for each loss, then one update by each optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import tensorflow as tf

from mox_core.engine.updates import learning_rate_of
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.engine.modelgraph import Loss
    from mox_core.engine.variables import VariableStore
    from mox_core.specs import ModelSpec


def make_train(
    optimizer_fns: Sequence[Callable[[], Any]], store: VariableStore
) -> Callable[[ModelSpec, Sequence[Loss]], tf.Tensor | None]:
    """Returns what adds the ops of one training step to a graph and gives the learning rate.

    Args:
        optimizer_fns: one for each loss, or one that is called for each of them.
        store: where the variables of the optimizers belong.
    """

    def train(spec: ModelSpec, losses: Sequence[Loss]) -> tf.Tensor | None:
        if len(optimizer_fns) not in (1, len(losses)):
            msg = (
                f"there are {len(losses)} losses and {len(optimizer_fns)} functions in optimizer_fn: give one, "
                "or one for each loss."
            )
            raise UsageError(msg)
        scopes = _scopes_of(spec, len(losses))
        # All gradients come before any update: the losses of a GAN see the same weights.
        updates = [_gradients(loss, scope) for loss, scope in zip(losses, scopes, strict=True)]
        each = optimizer_fns if len(optimizer_fns) == len(losses) else [*optimizer_fns] * len(losses)
        optimizers = [_make(optimizer_fn, store) for optimizer_fn in each]
        # Before the updates: they move the counter of a Keras optimizer, and a schedule would give the next step's.
        learning_rate = learning_rate_of(optimizers[0])
        for optimizer, pairs in zip(optimizers, updates, strict=True):
            optimizer.apply_gradients(pairs)
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
        kind = type(optimizer).__name__
        msg = (
            f"optimizer_fn returned an optimizer that was made outside of it ({kind}): its state would not be saved, "
            f"and another run would go on with it. Make it inside: optimizer_fn=lambda: {kind}(...)."
        )
        raise UsageError(msg)
    return optimizer


def _scopes_of(spec: ModelSpec, count: int) -> list[Sequence[str] | None]:
    """Returns the variable scopes of each loss, None for all variables."""
    if spec.var_scopes is None:
        return [None] * count
    several = isinstance(spec.loss, (list, tuple))
    return cast("list[Sequence[str] | None]", list(spec.var_scopes) if several else [spec.var_scopes])


def _gradients(loss: Loss, scopes: Sequence[str] | None) -> list[tuple[tf.Tensor, tf.Variable]]:
    graph = tf.compat.v1.get_default_graph()
    trainable = list({id(v): v for v in graph.get_collection(tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES)}.values())
    chosen = [v for v in trainable if scopes is None or any(_within(v.name, scope) for scope in scopes)]
    if not chosen:
        where = "model_fn" if scopes is None else f"the variable scopes {scopes!r}"
        known = sorted({v.name.split("/")[0] for v in trainable})
        msg = (
            f"{loss.name}: there is no trainable variable in {where}. Scopes with variables: "
            f"{', '.join(known) or 'none'}."
        )
        raise UsageError(msg)
    gradients = tf.gradients(loss.tensor, chosen)
    pairs = [(gradient, variable) for gradient, variable in zip(gradients, chosen, strict=True) if gradient is not None]
    if not pairs:
        names = ", ".join(v.name for v in chosen[:5])
        msg = f"{loss.name} does not depend on any of its variables ({names}): its gradient is nothing everywhere."
        raise UsageError(msg)
    return pairs


def _within(name: str, scope: str) -> bool:
    return name.startswith(scope.rstrip("/") + "/")
