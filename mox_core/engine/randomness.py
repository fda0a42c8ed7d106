"""Random numbers as a function of (seed, place), so that a resumed run draws what the first one would have drawn.

TensorFlow's ordinary random operations keep their state inside the kernel: it cannot be saved, and parallel calls of a
map race for it. `tf_patches.random_ops` therefore replaces them by their stateless twins while a run lasts, but only
where a scope of this module is active.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import itertools
import random
import secrets
from typing import TYPE_CHECKING

import tensorflow as tf

from mox_core.engine.tf_internals import func_graph

if TYPE_CHECKING:
    from collections.abc import Iterator


class SeedScope:
    """Where random operations take their seeds from: a key, a running number, and a tensor that tells the place.

    Attributes:
        passed_over: how many random operations were made where the scope does not reach.
    """

    def __init__(self, key: str, place: tf.Tensor | int, graph: tf.Graph | None) -> None:
        self._key = key
        self._place = place
        self._graph = graph
        self._numbers = itertools.count()
        self.passed_over = 0

    def covers_current_graph(self) -> bool:
        """Whether operations that are made now take their seeds from this scope.

        A seed from around the branch of a condition is used once. The body of a loop runs many times: there the
        ordinary, stateful operations stay.
        """
        if self._graph is None:
            return tf.executing_eagerly()
        graph: tf.Graph | None = tf.compat.v1.get_default_graph()
        while graph is not None and graph is not self._graph:
            graph = func_graph.enclosing_graph(graph)
        return graph is not None

    def next_key(self) -> int:
        """Return a number that no other operation of this scope gets."""
        return fold(self._key, next(self._numbers))

    def next_seed(self) -> tf.Tensor:
        """Return a seed for a stateless operation, int64 [2]."""
        return tf.stack([tf.constant(self.next_key(), tf.int64), tf.cast(self._place, tf.int64)])


_scope: contextvars.ContextVar[SeedScope | None] = contextvars.ContextVar("mox_random_scope", default=None)


def current_scope() -> SeedScope | None:
    """Return the scope of the `seeded` block that is running, None outside of any."""
    return _scope.get()


def fold(*parts: object) -> int:
    """Return a 63-bit number that depends on all of `parts` and is the same in every process."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def run_seed() -> int:
    """Return what `tf.random.set_seed` or `keras.utils.set_random_seed` set, a new random seed where nothing did."""
    seed, _ = tf.compat.v1.random.get_seed(None)
    return secrets.randbits(31) if seed is None else int(seed)


def eager_seed() -> int:
    """Return another seed in each call, as an operation has one of its own: after `set_seed` the same ones again."""
    seed, of_operation = tf.compat.v1.random.get_seed(None)
    return secrets.randbits(31) if seed is None else fold(seed, of_operation)


@contextlib.contextmanager
def seeded(key: str, place: tf.Tensor | int = 0, *, graph: tf.Graph | None = None) -> Iterator[None]:
    """Make the random operations of the block stateless, each with a seed of its own.

    Args:
        key: what tells this block from others: the seed of the run, the mode, the name of a variable.
        place: integer scalar, evaluated with the operations: the position of the sample, or the step.
        graph: the graph in which the operations are made; None for operations that run eagerly.
    """
    token = _scope.set(SeedScope(key, place, graph))
    try:
        yield
    finally:
        _scope.reset(token)


@contextlib.contextmanager
def python_random(key: str) -> Iterator[None]:
    """Seed Python's `random` for the block: Keras draws the seeds of initializers and of dropout from it."""
    state = random.getstate()
    random.seed(fold(key))
    try:
        yield
    finally:
        random.setstate(state)
