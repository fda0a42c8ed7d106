"""Collections as an estimator's `model_fn` knows them: what this call of it has put there."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import tensorflow as tf

import mox_core as mox

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def own_collections() -> Iterator[None]:
    """Make `tf.get_collection`, `tf.trainable_variables`, `tf.losses.get_losses` give what this call has made.

    All replicas are traced in one graph: a second one would find its variables twice, and the losses of the first.
    What no replica has added, like the global step, all of them see.
    """
    graph: Any = tf.compat.v1.get_default_graph()
    whole = graph.get_collection
    asking = False

    def get_collection(name: str, scope: str | None = None) -> Any:
        nonlocal asking
        everything = whole(name, scope)
        if asking:  # mox.get_collection, where there is one replica
            return everything
        asking = True
        try:
            own = mox.get_collection(name)
        finally:
            asking = False
        if not own:
            return everything
        return type(everything)(each for each in own if scope is None or _within(each, scope))

    graph.get_collection = get_collection
    try:
        yield
    finally:
        del graph.get_collection


def _within(each: Any, scope: str) -> bool:
    return hasattr(each, "name") and re.match(scope, each.name) is not None
