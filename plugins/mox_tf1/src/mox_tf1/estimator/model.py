"""`model_fn` of an estimator as `model_fn` of mox, in each mode."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

import mox_core as mox
from mox_core.errors import UsageError
from mox_tf1.estimator.calls import call, features_and_labels
from mox_tf1.estimator.collections_of_model import own_collections
from mox_tf1.estimator.hooks import adapted
from mox_tf1.estimator.specs import EstimatorSpec, ModeKeys, params_of
from mox_tf1.estimator.train_op import TrainOps
from mox_tf1.tf_internals import read_global_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ALONE: Final = "predictions"
"""The name of predictions that are one tensor, and of which users see no name."""


class Model:
    """The `model_fn` of an estimator, for one run of mox.

    Args:
        model_fn: the function.
        config: what it gets under this name.
        params: what it gets under this name.
        hooks: session hooks of the run, beside those that `model_fn` returns.
        keys: the names of the predictions that are wanted; None for all.
    """

    def __init__(
        self,
        model_fn: Callable[..., Any],
        *,
        config: Any,
        params: Any,
        hooks: Sequence[Any] = (),
        keys: Sequence[str] | str | None = None,
    ) -> None:
        self._model_fn = model_fn
        self._config = config
        self._params = params
        self._hooks = list(hooks)
        self._keys = [keys] if isinstance(keys, str) else keys
        self._optimizers: collections.deque[Any] = collections.deque()
        self._alone = False

    def call(self, features: Any, labels: Any, mode: str) -> EstimatorSpec:
        """Call `model_fn` with what it asks for."""
        spec = call(
            self._model_fn,
            features=features,
            labels=labels,
            mode=mode,
            params=params_of(self._params),
            config=self._config,
        )
        if not isinstance(spec, EstimatorSpec):
            raise UsageError(f"model_fn returned {spec!r} in mode {mode!r}; it returns a tf.estimator.EstimatorSpec.")
        return spec

    def for_training(self, inputs: list[Any], _mode: str) -> Any:
        """Be `model_fn` of mox in TRAIN."""
        spec, ops = self._noted(inputs, ModeKeys.TRAIN)
        updates = ops.understood(spec.train_op)
        self._optimizers.extend(update.optimizer for update in updates)
        losses = [update.surrogate(spec.loss) for update in updates]
        return mox.ModelSpec(
            loss=losses[0] if len(losses) == 1 else losses,
            log_info={"loss": spec.loss},
            hooks=[*self._hooks, *adapted(spec.training_chief_hooks), *adapted(spec.training_hooks)],
        )

    def next_optimizer(self) -> Any:
        """Be `optimizer_fn` of mox: it is called for each loss of each replica, in their order."""
        return self._optimizers.popleft()

    def for_evaluation(self, inputs: list[Any], _mode: str) -> Any:
        """Be `model_fn` of mox in EVAL."""
        spec, _ = self._noted(inputs, ModeKeys.EVAL)
        mean = tf.compat.v1.metrics.mean(spec.loss)  # over the batches, as in TensorFlow 1; mox's own are over samples
        return mox.ModelSpec(
            log_info={"loss": mean, **(spec.eval_metric_ops or {})},
            hooks=[*self._hooks, *adapted(spec.evaluation_hooks)],
        )

    def for_prediction(self, inputs: list[Any], _mode: str) -> Any:
        """Be `model_fn` of mox in PREDICT."""
        spec, _ = self._noted(inputs[:1], ModeKeys.PREDICT)
        self._alone = not isinstance(spec.predictions, dict)
        named = {_ALONE: spec.predictions} if self._alone else spec.predictions
        return mox.ModelSpec(output_info=self._wanted(named), hooks=[*self._hooks, *adapted(spec.prediction_hooks)])

    def exported(self, features: Any) -> EstimatorSpec:
        """Call `model_fn` for an exported model."""
        return self._noted([features], ModeKeys.PREDICT)[0]

    def unpacked(self, predictions: dict[str, Any]) -> Any:
        """Return predictions as users see them: without a name where they are one tensor."""
        return predictions[_ALONE] if self._alone else predictions

    def _noted(self, inputs: list[Any], mode: str) -> tuple[EstimatorSpec, TrainOps]:
        features, labels = features_and_labels(inputs)
        ops = TrainOps()
        with own_collections(), ops.noting():
            read_global_step()
            spec = self.call(features, labels, mode)
        # Optimizers compare what is in there with what they add, and a tensor is compared with no operation.
        tf.compat.v1.get_default_graph().clear_collection(tf.compat.v1.GraphKeys.TRAIN_OP)
        return spec, ops

    def _wanted(self, named: dict[str, Any]) -> dict[str, Any]:
        if self._keys is None:
            return named
        chosen = {name: tensor for name, tensor in named.items() if name in self._keys}
        if not chosen or self._alone:
            raise UsageError(f"predict_keys are {list(self._keys)}; predictions are {', '.join(named)}.")
        return chosen
