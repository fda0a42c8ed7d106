"""`tf.contrib.tpu` without a TPU: scripts like that of BERT use its estimator wherever they run."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from mox_core.errors import UsageError
from mox_tf1.estimator.calls import inputs_of
from mox_tf1.estimator.estimator import Estimator
from mox_tf1.estimator.log import say
from mox_tf1.estimator.specs import EstimatorSpec, RunConfig

if TYPE_CHECKING:
    from collections.abc import Callable

_NO_TPU: Final = "use_tpu is True, and mox has no TPUs: leave --use_tpu out."


class InputPipelineConfig:
    """How a TPU was fed: without effect."""

    PER_SHARD_V1 = 1
    PER_HOST_V1 = 2
    PER_HOST_V2 = 3
    BROADCAST = 4


def tpu_config(*arguments: Any, **options: Any) -> None:
    """Be `TPUConfig`: without effect."""
    del arguments, options


def run_config(
    tpu_config: Any = None, evaluation_master: Any = None, master: Any = None, cluster: Any = None, **options: Any
) -> RunConfig:
    """Be `tf.contrib.tpu.RunConfig`: a `RunConfig`, as there is no TPU."""
    del tpu_config, evaluation_master
    if master or cluster is not None:
        raise UsageError(f"RunConfig has master={master!r}, cluster={cluster!r}: {_NO_TPU}")
    return RunConfig(**options)


def cross_shard_optimizer(optimizer: Any, *arguments: Any, **options: Any) -> Any:
    """Be `CrossShardOptimizer`: the optimizer itself, whose gradients mox averages."""
    del arguments, options
    return optimizer


def tpu_estimator_spec(
    mode: str,
    predictions: Any = None,
    loss: Any = None,
    train_op: Any = None,
    eval_metrics: Any = None,
    export_outputs: Any = None,
    scaffold_fn: Callable[[], Any] | None = None,
    host_call: Any = None,
    **hooks: Any,
) -> EstimatorSpec:
    """Be `TPUEstimatorSpec`: an `EstimatorSpec` with the metrics that `eval_metrics` makes.

    Args:
        mode: as in `EstimatorSpec`, like all that is not named here.
        predictions: the same.
        loss: the same.
        train_op: the same.
        eval_metrics: a function, and its arguments: a list or a dict of tensors.
        export_outputs: the same.
        scaffold_fn: returns a scaffold, which is refused.
        host_call: without effect: what a TPU gave to its host.
        hooks: the same.
    """
    metrics = None
    if eval_metrics is not None and mode == "eval":
        function, tensors = eval_metrics
        metrics = function(**tensors) if isinstance(tensors, dict) else function(*tensors)
    if host_call is not None:
        say("host_call of TPUEstimatorSpec has no effect: tf.summary works in model_fn.")
    return EstimatorSpec(
        mode,
        predictions=predictions,
        loss=loss,
        train_op=train_op,
        eval_metric_ops=metrics,
        export_outputs=export_outputs,
        scaffold=scaffold_fn() if scaffold_fn is not None else None,
        **hooks,
    )


class TPUEstimator(Estimator):
    """An estimator whose `input_fn` finds the size of its batches in `params['batch_size']`.

    Args:
        model_fn: as in `Estimator`, like all that is not named here.
        model_dir: the same.
        config: the same.
        params: the same.
        use_tpu: False.
        options: `train_batch_size`, `eval_batch_size` and `predict_batch_size`: samples in a batch of each mode. Others
            are of a TPU, and without effect.
    """

    def __init__(
        self,
        model_fn: Callable[..., Any] | None = None,
        model_dir: str | None = None,
        config: RunConfig | None = None,
        params: Any = None,
        use_tpu: bool = True,  # noqa: FBT001, FBT002  (the signature of TensorFlow 1)
        **options: Any,
    ) -> None:
        if use_tpu:
            raise UsageError(_NO_TPU)
        super().__init__(model_fn or _no_model_fn, model_dir, config, params, options.get("warm_start_from"))
        names = {"train": "train_batch_size", "eval": "eval_batch_size", "infer": "predict_batch_size"}
        self._batch_sizes = {mode: options.get(name) for mode, name in names.items()}

    def _input_fn(self, input_fn: Callable[..., Any], mode: str) -> Callable[[str], Any]:
        params = copy.deepcopy(self._params) or {}
        params["batch_size"] = self._batch_sizes[mode]
        return lambda _: inputs_of(input_fn, mode, params=params, config=self._config)


def _no_model_fn(features: Any) -> Any:
    del features
    raise UsageError("TPUEstimator has no model_fn.")
