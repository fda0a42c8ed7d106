"""The optimizers of `tf.compat.v1.train`, with their arguments, their defaults and their slots.

Each is called as `name(learning_rate, ...)`, with the other arguments as in TensorFlow.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import UsageError
from mox_optimizers.learning_rates import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_optimizers.learning_rates import LearningRate


def _by_name(name: str, optimizer: Any) -> Callable[..., Any]:
    def make(learning_rate: LearningRate, *args: Any, **options: Any) -> Any:
        signature = inspect.signature(optimizer)
        allowed = [option for option in signature.parameters if option != "learning_rate"]
        for option in options:
            if option not in allowed:
                lines = [
                    f"optimizer {name!r} has no option {option!r}.",
                    did_you_mean(nearest(option, allowed)),
                    f"It takes: {', '.join(allowed)}.",
                ]
                raise UsageError("\n".join(filter(None, lines)))
        try:
            signature.bind(learning_rate, *args, **options)
        except TypeError as error:  # a required option is missing, or one is given twice
            raise UsageError(f"optimizer {name!r}: {error}. It takes: {', '.join(allowed)}.") from error
        return optimizer(resolve(learning_rate), *args, **options)

    make.__name__ = make.__qualname__ = name
    make.__signature__ = _with_learning_rate(inspect.signature(optimizer))  # type: ignore[attr-defined]  # for mox show
    make.__doc__ = f"Make a `tf.compat.v1.train.{optimizer.__name__}`; see there for the options."
    return make


def _with_learning_rate(signature: inspect.Signature) -> inspect.Signature:
    """Return the signature of an optimizer whose learning rate is always given."""
    given = signature.parameters["learning_rate"].replace(default=inspect.Parameter.empty)
    others = [each for each in signature.parameters.values() if each.name != "learning_rate"]
    return signature.replace(parameters=[given, *others])


adadelta = _by_name("adadelta", tf.compat.v1.train.AdadeltaOptimizer)
adagrad = _by_name("adagrad", tf.compat.v1.train.AdagradOptimizer)
adam = _by_name("adam", tf.compat.v1.train.AdamOptimizer)
ftrl = _by_name("ftrl", tf.compat.v1.train.FtrlOptimizer)
momentum = _by_name("momentum", tf.compat.v1.train.MomentumOptimizer)
rmsprop = _by_name("rmsprop", tf.compat.v1.train.RMSPropOptimizer)
sgd = _by_name("sgd", tf.compat.v1.train.GradientDescentOptimizer)
