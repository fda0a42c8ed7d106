"""What optimizers of TF1 and Keras keep in private names: learning rate, step counter, loss scale, what they train."""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.engine.tf_internals import keras_methods

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# A public name in Keras, private ones in `tf.compat.v1.train`.
_LEARNING_RATES: Final = ("learning_rate", "_learning_rate", "_lr")


def inside(optimizer: Any) -> Any:
    """Return the optimizer inside of one that scales losses: Keras's `LossScaleOptimizer`, or that of TF1."""
    if isinstance(optimizer, tf.compat.v1.mixed_precision.MixedPrecisionLossScaleOptimizer):
        return inside(optimizer._optimizer)  # noqa: SLF001  (no public name)
    within = getattr(optimizer, "inner_optimizer", None)
    return optimizer if within is None else inside(within)


def is_of_keras(optimizer: Any) -> bool:
    """Whether an optimizer is one of Keras 3."""
    keras: Any = sys.modules.get("keras")
    return keras is not None and isinstance(optimizer, keras.optimizers.Optimizer)


@contextlib.contextmanager
def named_for_keras(optimizer: Any, variables: Sequence[Any], *, building: bool = False) -> Iterator[None]:
    """Give variables of TensorFlow, for the block, what optimizers of Keras ask of Keras's own: a path and a name.

    Args:
        optimizer: the optimizer; for one that is not of Keras nothing changes.
        variables: the variables that it is built for or applied to.
        building: whether it makes variables in the block, some of which it calls by the name of one of these.
    """
    before = [(each, each._handle_name) for each in variables] if is_of_keras(optimizer) else []  # noqa: SLF001
    with keras_methods.wrapped(_without_path) if before and building else contextlib.nullcontext():
        try:
            for each, name in before:
                each.path = name.partition(":")[0]
                if building:
                    each._handle_name = name.replace("/", "_").replace(":", "_")  # noqa: SLF001
            yield
        finally:
            for each, name in before:
                del each.path
                each._handle_name = name  # noqa: SLF001


def _without_path(keras: Any) -> Sequence[keras_methods.Wrapped]:
    return ((keras.optimizers.Optimizer, "add_variable_from_reference", _by_name),)


def _by_name(add: Callable[..., Any]) -> Callable[..., Any]:
    """Let a slot be called as ever, which is by the name of its variable: a checkpoint knows it by that."""

    @functools.wraps(add)
    def call(optimizer: Any, reference_variable: Any, *args: Any, **kwargs: Any) -> Any:
        path = vars(reference_variable).pop("path")
        try:
            return add(optimizer, reference_variable, *args, **kwargs)
        finally:
            reference_variable.path = path

    return call


def several_within(optimizer: Any) -> list[Any]:
    """Return the optimizers of a `MultiOptimizer`, which older versions of Keras lack; any other optimizer itself."""
    keras: Any = sys.modules.get("keras")
    kind = getattr(keras.optimizers, "MultiOptimizer", None) if keras else None
    return list(optimizer.optimizers) if kind is not None and isinstance(optimizer, kind) else [optimizer]


def replaces_gradients(optimizer: Any) -> bool:
    """Whether an optimizer has a `compute_gradients` or a `minimize` of its own, beside those of TF1's base class."""
    if is_of_keras(optimizer):
        return False
    base = tf.compat.v1.train.Optimizer
    return any(
        getattr(getattr(optimizer, name, None), "__func__", getattr(optimizer, name, None))
        not in (None, getattr(base, name))
        for name in ("compute_gradients", "minimize")
    )


def replaces_minimize(optimizer: Any) -> bool:
    """Whether the method `minimize` of an optimizer is its own."""
    own = getattr(optimizer, "minimize", None)
    return getattr(own, "__func__", own) not in (None, tf.compat.v1.train.Optimizer.minimize)


def has_code_of_its_own(optimizer: Any) -> bool:
    """Whether an optimizer, or one inside that scales losses, is not as TensorFlow or Keras has it."""
    names = ("minimize", "compute_gradients", "apply_gradients", "apply")
    methods = [getattr(each, name, None) for each in (optimizer, inside(optimizer)) for name in names]
    return not all(_is_ready_made(each) for each in methods if each is not None)


def clips(optimizer: Any) -> bool:
    """Whether an optimizer of Keras clips gradients; where they are sparse, it takes each of their slices for a row."""
    names = ("clipnorm", "clipvalue", "global_clipnorm")
    return is_of_keras(optimizer) and any(
        getattr(each, name) is not None for each in several_within(inside(optimizer)) for name in names
    )


def _is_ready_made(method: Any) -> bool:
    return str(method.__module__).partition(".")[0] in {"tensorflow", "keras"}


def applies_constraints(optimizer: Any) -> bool:
    """Whether the update is that of TensorFlow or Keras, which apply the constraints of variables in it."""
    names = ("apply", "apply_gradients") if is_of_keras(optimizer) else ("apply_gradients",)
    return all(_is_ready_made(getattr(optimizer, name)) for name in names)


def loss_scale_of(optimizer: Any) -> tf.Tensor | None:
    """Return by what an optimizer multiplies a loss before its gradients are computed, None where it does not.

    One of Keras has to be built, or the scale is that of its beginning for ever.
    """
    if isinstance(optimizer, tf.compat.v1.mixed_precision.MixedPrecisionLossScaleOptimizer):
        return tf.cast(optimizer._loss_scale(), tf.float32)  # noqa: SLF001  (no public name)
    one = tf.constant(1.0)
    scaled = optimizer.scale_loss(one) if is_of_keras(optimizer) else one
    return None if scaled is one else tf.cast(scaled, tf.float32)


def finishing(optimizer: Any) -> list[Any]:
    """Return what of an optimizer changes the weights at the end of a training, as one of Keras with `use_ema` does."""
    if not is_of_keras(optimizer):
        return []
    base: Any = sys.modules["keras"].optimizers.Optimizer
    several = several_within(inside(optimizer))
    found = several if len(several) > 1 else [optimizer]
    return [each for each in found if _finishes(inside(each), base)]


def _finishes(optimizer: Any, base: Any) -> bool:
    return type(optimizer).finalize_variable_values is not base.finalize_variable_values or bool(optimizer.use_ema)


def trained_by(optimizer: Any) -> list[Any]:
    """Return the variables that an optimizer of Keras was built for, in the order in which it keeps its own."""
    trained = optimizer._trainable_variables  # noqa: SLF001  (no public name)
    return [each if callable(each.value) else each.value for each in trained]  # a method of TensorFlow's variables


def learning_rate_of(optimizer: Any) -> tf.Tensor | None:
    """Return the learning rate of the next step, None where an optimizer has none that can be found.

    The attribute `learning_rate` of a wrapper is that of the optimizer inside.
    """
    optimizer = inside(optimizer)
    if several_within(optimizer) != [optimizer]:
        return None
    for attribute in _LEARNING_RATES:
        value = getattr(optimizer, attribute, None)
        value = value() if callable(value) else value
        if value is not None:
            return tf.convert_to_tensor(value)
    return None


def set_learning_rate(optimizer: Any, rate: tf.Tensor) -> bool:
    """Replace the learning rate of an optimizer that has not been applied yet; False where it has none to be found."""
    optimizer = inside(optimizer)
    attribute = next((name for name in reversed(_LEARNING_RATES) if hasattr(optimizer, name)), None)
    if attribute is None or several_within(optimizer) != [optimizer]:
        return False
    # Keras calls a function at each step, and makes anything else the initial value of a variable.
    setattr(optimizer, attribute, (lambda: rate) if hasattr(optimizer, "build") else rate)
    return True


def share_step_counter(optimizer: Any) -> None:
    """Make the step counter of a Keras optimizer count the steps of all workers that share it.

    Keras assigns the value that it has read plus one: steps that other workers count meanwhile would be lost.
    """
    counter: Any = getattr(inside(optimizer), "_iterations", None)
    if isinstance(getattr(counter, "value", None), tf.Variable):
        counter.assign_add = counter.value.assign_add
