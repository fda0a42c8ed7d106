"""`tf.estimator` as the modules of a script see it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mox_tf1.views import View, module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HERE: Final = {
    "BestExporter": "train_and_evaluate",
    "EstimatorSpec": "specs",
    "EvalSpec": "train_and_evaluate",
    "FinalExporter": "train_and_evaluate",
    "LatestExporter": "train_and_evaluate",
    "ModeKeys": "specs",
    "RunConfig": "specs",
    "TrainSpec": "train_and_evaluate",
    "train_and_evaluate": "train_and_evaluate",
}
_EXPORT: Final = {
    "ClassificationOutput": "specs",
    "PredictOutput": "specs",
    "RegressionOutput": "specs",
    "ServingInputReceiver": "exporting",
    "build_parsing_serving_input_receiver_fn": "exporting",
    "build_raw_serving_input_receiver_fn": "exporting",
}
_INPUTS: Final = {"numpy_input_fn": "inputs", "pandas_input_fn": "inputs"}

_TPU: Final = {
    "CrossShardOptimizer": "cross_shard_optimizer",
    "InputPipelineConfig": "InputPipelineConfig",
    "RunConfig": "run_config",
    "TPUConfig": "tpu_config",
    "TPUEstimatorSpec": "tpu_estimator_spec",
}

_KINDS: Final = {
    "BaselineClassifier": "predict the most frequent class",
    "BaselineEstimator": "predict the mean",
    "BaselineRegressor": "predict the mean",
    "BoostedTreesClassifier": "pip install tensorflow-decision-forests or scikit-learn: trees are no networks",
    "BoostedTreesEstimator": "pip install tensorflow-decision-forests or scikit-learn: trees are no networks",
    "BoostedTreesRegressor": "pip install tensorflow-decision-forests or scikit-learn: trees are no networks",
    "DNNClassifier": "keras.Sequential([Dense(10, 'relu'), ..., Dense(n_classes)]), compiled with a "
    "SparseCategoricalCrossentropy(from_logits=True)",
    "DNNEstimator": "keras.Sequential([Dense(10, 'relu'), ..., Dense(n)])",
    "DNNLinearCombinedClassifier": "a keras.Model that adds the outputs of a Dense layer and of a network",
    "DNNLinearCombinedEstimator": "a keras.Model that adds the outputs of a Dense layer and of a network",
    "DNNLinearCombinedRegressor": "a keras.Model that adds the outputs of a Dense layer and of a network",
    "DNNRegressor": "keras.Sequential([Dense(10, 'relu'), ..., Dense(1)]), compiled with 'mse'",
    "LinearClassifier": "keras.Sequential([Dense(n_classes)]), compiled with a "
    "SparseCategoricalCrossentropy(from_logits=True)",
    "LinearEstimator": "keras.Sequential([Dense(n)])",
    "LinearRegressor": "keras.Sequential([Dense(1)]), compiled with 'mse'",
}
"""Models that TensorFlow 1 had ready, and how they are written now."""


def estimator_view(run: Callable[..., Any]) -> View:
    """Return `tf.estimator` for the modules of a script.

    Args:
        run: `mox.run` of the script.
    """
    own: dict[str, Callable[[], Any]] = {name: partial(_of, where, name) for name, where in _HERE.items()}
    own["Estimator"] = partial(_estimator, run)
    own["export"] = partial(_part, "export", _EXPORT)
    own["inputs"] = partial(_part, "inputs", _INPUTS)
    return View("tensorflow.estimator", own, missing=_missing)


def tpu_view(run: Callable[..., Any]) -> View:
    """Return `tf.contrib.tpu` for the modules of a script.

    Args:
        run: `mox.run` of the script.
    """
    own: dict[str, Callable[[], Any]] = {name: partial(_of, "tpu", here) for name, here in _TPU.items()}
    own["TPUEstimator"] = partial(_estimator, run, "tpu", "TPUEstimator")
    return View("tensorflow.contrib.tpu", own, missing=lambda name: f"tf.contrib.tpu.{name} needs a TPU: see tf.tpu.")


def predictor_view() -> View:
    """Return `tf.contrib.predictor` for the modules of a script."""
    own = {"from_saved_model": partial(_of, "predictor", "from_saved_model")}
    return View(
        "tensorflow.contrib.predictor",
        own,
        missing=lambda name: f"tf.contrib.predictor.{name} is not there: from_saved_model reads an exported model.",
    )


def _of(where: str, name: str) -> Any:
    return getattr(module(f"mox_tf1.estimator.{where}")(), name)


def _estimator(run: Callable[..., Any], where: str = "estimator", name: str = "Estimator") -> type:
    base = _of(where, name)
    return type(name, (base,), {"run": staticmethod(run), "__doc__": base.__doc__})


def _part(name: str, holds: Mapping[str, str]) -> View:
    own = {each: partial(_of, where, each) for each, where in holds.items()}
    return View(f"tensorflow.estimator.{name}", own, missing=lambda inner: _missing(f"{name}.{inner}"))


def _missing(name: str) -> str:
    if name in _KINDS:
        return (
            f"tf.estimator.{name} is not there: the models that TensorFlow 1 had ready went with TensorFlow 2.16. With "
            f"Keras: {_KINDS[name]}. In a model_fn of tf.estimator.Estimator: tf.feature_column.input_layer and "
            "tf.layers.dense."
        )
    return (
        f"tf.estimator.{name} is not there: Estimator, EstimatorSpec, RunConfig, train_and_evaluate and what belongs "
        "to them are. mox.run trains with hooks of mox: mox.EarlyStoppingHook."
    )
