"""Optimizers around optimizers: what a wrapper is made of.

A wrapper sees the gradients before the optimizer inside it does, and decides what reaches it and when. It keeps what it
remembers in slots: variables that are saved with the model, under `<variable>/<slot>` as those of TensorFlow's own
optimizers.
"""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mox_core.engine.workers import Peers

    Pairs = Iterable[tuple[tf.Tensor, tf.Variable]]
    """Gradients with their variables, as `apply_gradients` takes them."""


class OptimizerWrapper:
    """The base of optimizers around an optimizer; a subclass overrides `apply_gradients`.

    Attributes:
        optimizer: what is inside: an optimizer of `tf.compat.v1.train`, of Keras, or another wrapper.
        averages_workers: whether it brings workers together that step on their own, by `sum_over_workers`.

    Raises:
        UsageError: if that is no optimizer.
    """

    averages_workers = False

    def __init__(self, optimizer: Any) -> None:
        if isinstance(optimizer, type) or not hasattr(optimizer, "apply_gradients"):
            raise UsageError(
                f"{type(self).__name__} was put around {optimizer!r}; it must be an optimizer: "
                "what mox.get_optimizer_fn(...) returns still has to be called, mox.get_optimizer_fn(...)()."
            )
        self.optimizer = optimizer

    @property
    def variables(self) -> Any:
        """Those of the optimizer inside, as it has them: a list in Keras, a method in `tf.compat.v1.train`."""
        return getattr(self.optimizer, "variables", ())

    @property
    def learning_rate(self) -> tf.Tensor | None:
        """The learning rate of the optimizer inside, None where it cannot be found."""
        return learning_rate_of(self.optimizer)

    def apply_gradients(self, grads_and_vars: Pairs) -> None:
        """Moves the variables of one step.

        Args:
            grads_and_vars: the gradients of a loss with their variables, summed over what one step sees.
        """
        self.optimizer.apply_gradients(grads_and_vars)


def number_of_workers() -> int:
    """Returns how many workers the run has, in `optimizer_fn` and in what it calls."""
    peers = _peers.get()
    return peers.number if peers else 1


def independent_workers() -> int:
    """Returns how many workers step on their own, without parameter servers; 1 where there are no others.

    Each of them gives its optimizers the gradients of its own samples.
    """
    peers = _peers.get()
    return 1 if peers is None or peers.together else peers.number


def sum_over_workers(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the sums of tensors over all workers that step on their own; the tensors where there are no others.

    The workers wait for each other here. In a branch, all have to take it in the same step.

    Args:
        tensors: of the graph, dense; the same shapes and types on every worker.
    """
    peers = _peers.get()
    return list(tensors) if peers is None or peers.together else peers.sum(tensors)


@contextlib.contextmanager
def meeting(peers: Peers) -> Iterator[None]:
    """Lets the optimizers of the block know of the workers of the run."""
    token = _peers.set(peers)
    try:
        yield
    finally:
        _peers.reset(token)


_peers: contextvars.ContextVar[Peers | None] = contextvars.ContextVar("mox_workers", default=None)


def averages_workers(optimizer: Any) -> bool:
    """Whether an optimizer, or a wrapper inside it, brings workers together that step on their own."""
    while isinstance(optimizer, OptimizerWrapper):
        if optimizer.averages_workers:
            return True
        optimizer = optimizer.optimizer
    return False


def slot(variable: tf.Variable, name: str, initial_value: Callable[[], Any]) -> tf.Variable:
    """Returns a new variable `<variable>/<name>` that is saved with the model and not trained.

    Args:
        variable: whose slot it is.
        name: of the slot.
        initial_value: gives the value at the beginning.
    """
    return state_variable(f"{variable.name.partition(':')[0]}/{name}", initial_value)


def state_variable(name: str, initial_value: Callable[[], Any]) -> tf.Variable:
    """Returns a new variable that is saved with the model and not trained; its name stands outside of all scopes."""
    with tf.compat.v1.name_scope(None), tf.compat.v1.variable_scope("", use_resource=True):
        return tf.Variable(initial_value, trainable=False, name=name)


def apply_if(condition: tf.Tensor, optimizer: Any, grads_and_vars: Sequence[tuple[tf.Tensor, tf.Variable]]) -> None:
    """Lets an optimizer move its variables in the steps in which a condition holds.

    In the others it does nothing at all: its averages, counters and slots stay as they are.

    Args:
        condition: a boolean scalar.
        optimizer: an optimizer or a wrapper.
        grads_and_vars: what it is given.
    """
    pairs = list(grads_and_vars)
    if not isinstance(optimizer, OptimizerWrapper) and hasattr(optimizer, "build"):
        optimizer.build([variable for _, variable in pairs])  # Keras makes its slots outside of the branch

    def apply() -> tf.Tensor:
        # Names are those that the optimizer would give without the condition: checkpoints fit with and without it.
        with tf.compat.v1.name_scope(None):
            optimizer.apply_gradients(pairs)
        return tf.constant(True)

    tf.cond(condition, apply, lambda: tf.constant(False))


# A public name in Keras, private ones in `tf.compat.v1.train`: there is no other door to what a script has chosen.
_LEARNING_RATES = ("learning_rate", "_learning_rate", "_lr")


def learning_rate_of(optimizer: Any) -> tf.Tensor | None:
    """Returns the learning rate of the step that comes next, None where an optimizer has none that can be found.

    A wrapper answers for what is inside, by a `learning_rate` of its own.
    """
    for attribute in _LEARNING_RATES:
        value = getattr(optimizer, attribute, None)
        value = value() if callable(value) else value
        if value is not None:
            return tf.convert_to_tensor(value)
    return None


def scale_learning_rate(optimizer: Any, factor: tf.Tensor) -> None:
    """Multiplies the learning rate with which an optimizer, wrapped or not, moves its variables.

    Args:
        optimizer: has not been applied yet.
        factor: a scalar of the graph.

    Raises:
        UsageError: where the optimizer has no learning rate that can be found.
    """
    if isinstance(optimizer, OptimizerWrapper):
        scale_learning_rate(optimizer.optimizer, factor)
        return
    rate = learning_rate_of(optimizer)
    attribute = next((name for name in reversed(_LEARNING_RATES) if hasattr(optimizer, name)), None)
    if rate is None or attribute is None:
        raise UsageError(
            f"{type(optimizer).__name__} has no learning rate that mox can find, and a hook changes it: use an "
            "optimizer of tf.compat.v1.train or of Keras, or leave the hook out."
        )
    scaled = rate * tf.cast(factor, rate.dtype)
    # Keras asks a function where it is one, and else takes the value as the start of a variable.
    setattr(optimizer, attribute, (lambda: scaled) if hasattr(optimizer, "build") else scaled)
