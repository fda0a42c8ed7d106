"""Optimizers around optimizers: what a wrapper is made of.

A wrapper sees the gradients before the optimizer inside it does, and decides what reaches it and when. It keeps its
state in slots: variables that are saved with the model, under `<variable>/<slot>` like those of TensorFlow's own
optimizers.
"""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.tf_internals.optimizers import learning_rate_of, set_learning_rate
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mox_core.engine.distribute.collectives import Collective


class OptimizerWrapper:
    """The base of optimizers around an optimizer; a subclass overrides `apply_gradients`.

    Attributes:
        optimizer: the optimizer inside: of `tf.compat.v1.train`, of Keras, or another wrapper.
        averages_workers: whether it averages workers that step on their own, by `sum_over_workers`.

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
        """Those of the optimizer inside: a list in Keras, a method in `tf.compat.v1.train`."""
        return getattr(self.optimizer, "variables", ())

    @property
    def learning_rate(self) -> tf.Tensor | None:
        """The learning rate of the optimizer inside, None where it cannot be found."""
        return learning_rate_of(self.optimizer)

    def constraint_of(self, variable: tf.Variable) -> Any:
        """Return the constraint of a variable, a function of its value that each update ends with; None for none."""
        inside = getattr(self.optimizer, "constraint_of", None)
        return variable.constraint if inside is None else inside(variable)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[tf.Tensor, tf.Variable]]) -> None:
        """Update the variables of one step.

        Args:
            grads_and_vars: the gradients of a loss with their variables, averaged over all replicas.
        """
        self.optimizer.apply_gradients(grads_and_vars)


def number_of_workers() -> int:
    """Return how many workers the run has, in `optimizer_fn` and in what it calls."""
    collective = _collective.get()
    return collective.world_size if collective else 1


def independent_workers() -> int:
    """Return how many workers step on their own, without parameter servers; 1 where there are no others.

    Each of them gives its optimizers the gradients of its own samples.
    """
    collective = _collective.get()
    return 1 if collective is None or collective.synchronous else collective.world_size


def sum_over_workers(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """All-reduce over the workers that step on their own; returns the tensors where there are no others.

    The workers wait for each other here. Inside a `tf.cond`, all workers must take the branch in the same step.

    Args:
        tensors: dense tensors of the graph, of the same shapes and dtypes on every worker.

    Returns:
        The sum over all workers of each tensor.
    """
    collective = _collective.get()
    return list(tensors) if collective is None or collective.synchronous else collective.all_reduce_sum(tensors)


@contextlib.contextmanager
def collective_scope(collective: Collective) -> Iterator[None]:
    """Make the workers of the run known to the optimizers of the block."""
    token = _collective.set(collective)
    try:
        yield
    finally:
        _collective.reset(token)


_collective: contextvars.ContextVar[Collective | None] = contextvars.ContextVar("mox_collective", default=None)


def averages_workers(optimizer: Any) -> bool:
    """Whether an optimizer, or a wrapper inside it, averages workers that step on their own."""
    while isinstance(optimizer, OptimizerWrapper):
        if optimizer.averages_workers:
            return True
        optimizer = optimizer.optimizer
    return False


def slot(variable: tf.Variable, name: str, initial_value: Callable[[], Any]) -> tf.Variable:
    """Return a new variable `<variable>/<name>` that is saved with the model and not trained.

    Args:
        variable: the variable whose slot it is.
        name: name of the slot.
        initial_value: function of no arguments that returns the initial value.
    """
    return state_variable(f"{variable.name.partition(':')[0]}/{name}", initial_value)


def state_variable(name: str, initial_value: Callable[[], Any]) -> tf.Variable:
    """Return a new variable that is saved with the model and not trained; its name stands outside of all scopes.

    Args:
        name: name of the variable.
        initial_value: function of no arguments that returns the initial value.
    """
    with tf.compat.v1.name_scope(None), tf.compat.v1.variable_scope("", use_resource=True):
        return tf.Variable(initial_value, trainable=False, name=name)


def apply_if(condition: tf.Tensor, optimizer: Any, grads_and_vars: Sequence[tuple[tf.Tensor, tf.Variable]]) -> None:
    """Apply an optimizer in the steps in which a condition holds.

    In the other steps it does nothing at all: its averages, counters and slots stay as they are.

    Args:
        condition: boolean scalar.
        optimizer: an optimizer or a wrapper.
        grads_and_vars: the gradients with their variables.
    """
    pairs = list(grads_and_vars)
    if hasattr(optimizer, "build"):
        optimizer.build([variable for _, variable in pairs])  # Keras makes its slots outside of the branch

    def apply() -> tf.Tensor:
        # Names are those that the optimizer would give without the condition: checkpoints fit with and without it.
        with tf.compat.v1.name_scope(None):
            optimizer.apply_gradients(pairs)
        return tf.constant(True)

    tf.cond(condition, apply, lambda: tf.constant(False))


def scale_learning_rate(optimizer: Any, factor: tf.Tensor) -> None:
    """Multiply the learning rate with which an optimizer, wrapped or not, updates its variables.

    Args:
        optimizer: an optimizer that has not been applied yet.
        factor: scalar of the graph.

    Raises:
        UsageError: if the optimizer has no learning rate that can be found.
    """
    while isinstance(optimizer, OptimizerWrapper):
        optimizer = optimizer.optimizer
    rate = learning_rate_of(optimizer)
    if rate is None or not set_learning_rate(optimizer, rate * tf.cast(factor, rate.dtype)):
        raise UsageError(
            f"{type(optimizer).__name__} has no learning rate that mox can find, and a hook changes it: use an "
            "optimizer of tf.compat.v1.train or of Keras, or leave the hook out."
        )
