"""From a `train_op` back to what made it: an optimizer, and a loss or gradients, with which mox does the step.

In `model_fn` of an estimator, `minimize` and `apply_gradients` of the optimizers of `tf.train` update nothing. They
note what they are given and return an operation that stands for the update; mox makes the update, with the mean
gradients of all replicas and workers. What else a `train_op` does runs with each step, before the update. What would
have to run behind it cannot, and is refused.
"""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field, frozen

from mox_core.errors import UsageError
from mox_core.sdk import loss_with_gradients
from mox_core.user_code import user_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_EFFECTS: Final = ("Assign", "Resource", "Scatter", "Apply")
"""How the types of operations begin that change variables."""
_READS: Final = ("ResourceGather",)
_HERE: Final = str(Path(__file__).parents[1])
_ADDITIONS: Final = ("Add", "AddV2")


@frozen(eq=False)
class Update:
    """An update of weights that `model_fn` has asked for.

    Attributes:
        op: the operation that stands for it in the graph.
        optimizer: what makes it.
        loss: the tensor whose gradients it is given; None where there are `pairs`.
        pairs: gradients with their variables.
    """

    op: tf.Operation
    optimizer: Any
    loss: Any = None
    pairs: tuple[tuple[Any, Any], ...] = ()

    def surrogate(self, loss: Any) -> Any:
        """Return the loss that has the gradients of this update; its value is that of `loss` where they are given."""
        if self.loss is not None:
            own = tf.convert_to_tensor(self.loss)
            return own if own.shape.rank == 0 else tf.reduce_sum(own)
        return loss_with_gradients(loss, list(self.pairs))


@define
class TrainOps:
    """What one call of `model_fn` asks of optimizers.

    Attributes:
        updates: the updates.
        counts: whether anything counts the global step; mox counts every step.
    """

    updates: list[Update] = field(factory=list)
    counts: bool = False

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note what optimizers are asked for in the block, in place of doing it."""
        base = tf.compat.v1.train.Optimizer
        with contextlib.ExitStack() as stack:
            for kind in _with_subclasses(base):
                for name, replace in (("apply_gradients", self._applying), ("minimize", self._minimizing)):
                    if name in vars(kind):
                        stack.enter_context(_replaced(kind, name, replace(vars(kind)[name])))
            compute = vars(base)["compute_gradients"]
            stack.enter_context(_replaced(base, "compute_gradients", _of_keras_variables_too(compute)))
            step = tf.compat.v1.train.get_global_step()
            for name in ("assign", "assign_add"):
                stack.enter_context(_replaced(step, name, self._counting(name)))
            yield

    def understood(self, train_op: Any) -> list[Update]:
        """Return the updates that a `train_op` makes; what else it does runs with each step.

        Raises:
            UsageError: if it makes none, or does something behind them.
        """
        op = getattr(train_op, "op", train_op)
        if not isinstance(op, tf.Operation):
            raise UsageError(f"train_op of EstimatorSpec is {train_op!r}; it is what an optimizer of tf.train returns.")
        after = _reached(op, {update.op.name: update for update in self.updates})
        found = [update for update in self.updates if after.get(update.op.name)]
        if not found:
            raise UsageError(
                f"{line_of(op)}: train_op {op.name!r} is not what minimize or apply_gradients of an "
                "optimizer of tf.train has returned in this call of model_fn, and mox cannot tell what it trains. "
                "Write train_op = tf.train.AdamOptimizer(...).minimize(loss, global_step=tf.train.get_global_step())."
            )
        if not self.counts:
            tf.get_logger().warning("train_op counts no global step: mox counts every step.")
        tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.UPDATE_OPS, op)
        return found

    def _applying(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def apply_gradients(optimizer: Any, grads_and_vars: Any, global_step: Any = None, name: Any = None) -> Any:
            pairs = tuple((gradient, _plain(own)) for gradient, own in grads_and_vars if gradient is not None)
            if not pairs:
                raise ValueError("No gradients provided for any variable.")
            return self._note(optimizer, global_step, name, pairs=pairs)

        return apply_gradients

    def _minimizing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def minimize(optimizer: Any, loss: Any, global_step: Any = None, *arguments: Any, **options: Any) -> Any:
            own = type(optimizer).compute_gradients is not tf.compat.v1.train.Optimizer.compute_gradients
            if own or arguments or {key for key, value in options.items() if value is not None} - {"name"}:
                return original(optimizer, loss, global_step, *arguments, **options)
            # All variables: layers of Keras make theirs known when model_fn has returned.
            return self._note(optimizer, global_step, options.get("name"), loss=loss)

        return minimize

    def _note(self, optimizer: Any, global_step: Any, name: str | None, **what: Any) -> tf.Operation:
        if global_step is tf.compat.v1.train.get_global_step():
            self.counts = True
        elif global_step is not None:  # a counter of its own
            tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.UPDATE_OPS, global_step.assign_add(1))
        op = tf.no_op(name=name or "train")
        self.updates.append(Update(op, optimizer, **what))
        return op

    def _counting(self, method: str) -> Callable[..., Any]:
        """Return `assign` or `assign_add` of the global step, which mox counts, for a `train_op` that does it, too."""

        def count(value: Any, *_arguments: Any, **_options: Any) -> tf.Operation:
            op = tf.no_op(name="count_step")
            if not _counts_one(value, added=method == "assign_add"):
                raise UsageError(f"{line_of(op)}: the global step is assigned {value!r}: mox counts every step by one.")
            self.counts = True
            return op

        return count


def line_of(op: tf.Operation) -> str:
    """Return the line of the script that has made an operation: 'train.py:12'."""
    return user_line(frame for frame in op.traceback if not frame.filename.startswith(_HERE))


def _counts_one(value: Any, *, added: bool) -> bool:
    """Whether a value is 1, or one more than another."""
    if not tf.is_symbolic_tensor(value):
        return added and int(value) == 1
    if added:
        return bool(tf.get_static_value(value) == 1)
    while value.op.type in ("Identity", "Cast"):
        value = value.op.inputs[0]
    return value.op.type in _ADDITIONS and any(tf.get_static_value(each) == 1 for each in value.op.inputs)


def _reached(last: tf.Operation, updates: dict[str, Update]) -> dict[str, bool]:
    """Return for each operation that one depends on whether it is an update, or depends on one.

    Raises:
        UsageError: if one that changes something does.
    """
    after: dict[str, bool] = {}
    entered: set[str] = set()
    waiting = [last]
    while waiting:
        op = waiting[-1]
        before = [] if op.name in updates else [*op.control_inputs, *(tensor.op for tensor in op.inputs)]
        if op.name not in entered:
            entered.add(op.name)
            waiting += [each for each in before if each.name not in entered]
            continue
        waiting.pop()
        if op.name not in after:
            after[op.name] = op.name in updates or any(after.get(each.name, False) for each in before)
            if after[op.name] and op.name not in updates:
                _check_may_be_before(op)
    return after


def _check_may_be_before(op: tf.Operation) -> None:
    """Refuse an operation that changes something and is to run behind the update."""
    if not op.type.startswith(_EFFECTS) or op.type.startswith(_READS):
        return
    raise UsageError(
        f"{line_of(op)}: {op.name!r} ({op.type}) waits for the update of the weights, by "
        "tf.control_dependencies, and mox makes the update last. Take it out of control_dependencies, and put both "
        "into the train_op: tf.group(update, other). It then sees the weights from before the update."
    )


def _of_keras_variables_too(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def compute_gradients(optimizer: Any, loss: Any, var_list: Any = None, *arguments: Any, **options: Any) -> Any:
        own = None if var_list is None else [_plain(each) for each in tf.nest.flatten(var_list)]
        return original(optimizer, loss, own, *arguments, **options)

    return compute_gradients


def _plain(variable: Any) -> Any:
    """Return the variable of TensorFlow in one of Keras."""
    return variable if isinstance(variable, tf.Variable) else getattr(variable, "value", variable)


def _with_subclasses(kind: type) -> Iterator[type]:
    seen: dict[type, None] = {}
    waiting = [kind]
    for each in waiting:
        if each not in seen:
            seen[each] = None
            waiting += each.__subclasses__()
    yield from seen


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    present = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if present is None:
            delattr(owner, name)
        else:
            setattr(owner, name, present)
