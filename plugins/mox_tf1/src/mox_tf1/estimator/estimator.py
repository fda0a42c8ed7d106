"""`tf.estimator.Estimator`: each of its methods is a run of mox."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tensorflow as tf

import mox_core as mox
from mox_core.errors import UsageError
from mox_core.sdk import input_from_the_start, metric_text
from mox_tf1.estimator import exporting
from mox_tf1.estimator.calls import arguments_of, inputs_of
from mox_tf1.estimator.hooks import adapted
from mox_tf1.estimator.log import say
from mox_tf1.estimator.model import Model
from mox_tf1.estimator.specs import SAVE_SECS, RunConfig, params_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mox_core.run_result import RunResult


class Estimator:
    """A model in `model_fn(features, labels, mode, params, config)`, and the folder of its checkpoints.

    Args:
        model_fn: returns an `EstimatorSpec`; it gets those of the arguments that it names.
        model_dir: the folder; that of config, or a temporary one, if not given.
        config: a `RunConfig`.
        params: what `model_fn` and `input_fn` get under this name.
        warm_start_from: refused.
    """

    run: ClassVar[Callable[..., RunResult]] = staticmethod(mox.run)
    """`mox.run` of the script."""

    def __init__(
        self,
        model_fn: Callable[..., Any],
        model_dir: str | None = None,
        config: RunConfig | None = None,
        params: Any = None,
        warm_start_from: None = None,
    ) -> None:
        if not callable(model_fn) or "features" not in arguments_of(model_fn):
            raise UsageError(f"model_fn of Estimator is {model_fn!r}; it is a function with an argument features.")
        if warm_start_from is not None:
            raise UsageError(
                f"warm_start_from of Estimator is {warm_start_from!r}: call tf.train.init_from_checkpoint in model_fn, "
                "and leave it out."
            )
        if params and "params" not in arguments_of(model_fn):
            raise UsageError("Estimator has params, and model_fn has no argument params.")
        config = config or RunConfig()
        if not isinstance(config, RunConfig):
            raise UsageError(f"config of Estimator is {config!r}; it is a tf.estimator.RunConfig.")
        if model_dir and config.model_dir and os.fspath(model_dir) != os.fspath(config.model_dir):
            raise UsageError(f"Estimator has model_dir={model_dir!r}, and its config {config.model_dir!r}: give one.")
        folder = os.fspath(model_dir or config.model_dir or "") or _temporary()
        self._config = config.replace(model_dir=folder)
        self._model_fn = model_fn
        self._params = params

    @property
    def model_dir(self) -> str:
        """The folder of checkpoints and summaries."""
        return str(self._config.model_dir)

    @property
    def config(self) -> RunConfig:
        """The `RunConfig`."""
        return self._config

    @property
    def params(self) -> Any:
        """A copy of the `params`."""
        return params_of(self._params)

    @property
    def model_fn(self) -> Callable[..., Any]:
        """`model_fn(features, labels, mode, config)`, which has the `params` already."""
        return lambda features, labels, mode, config: self._model(config).call(features, labels, mode)

    def train(
        self,
        input_fn: Callable[..., Any],
        hooks: Sequence[Any] | None = None,
        steps: int | None = None,
        max_steps: int | None = None,
        saving_listeners: Sequence[Any] | None = None,
    ) -> Estimator:
        """Train until the input ends, for some steps, or up to a global step. The input begins at its beginning.

        Args:
            input_fn: returns a dataset of batches, or tensors of one: features, or (features, labels).
            hooks: session hooks.
            steps: how many steps.
            max_steps: the global step at which it ends.
            saving_listeners: refused.
        """
        if saving_listeners:
            raise UsageError("train has saving_listeners: what is to be done after some steps, a hook does.")
        if steps is not None and max_steps is not None:
            raise UsageError("train has steps and max_steps: give one of them.")
        for name, value in (("steps", steps), ("max_steps", max_steps)):
            if value is not None and value <= 0:
                raise UsageError(f"{name} of train is {value!r}; it is a number of 1 or more.")
        with input_from_the_start():
            self.train_on(input_fn, hooks, max_steps=self._step() + steps if steps else max_steps)
        return self

    def train_on(
        self,
        input_fn: Callable[..., Any],
        hooks: Sequence[Any] | None,
        *,
        max_steps: int | None,
        hook_from: Callable[[int], Any] | None = None,
    ) -> RunResult | None:
        """Train on: the input begins where the last training has left it.

        Args:
            input_fn: as in `train`.
            hooks: as in `train`.
            max_steps: as in `train`.
            hook_from: returns another hook, for the global step with which the training begins.

        Returns:
            How the run ended; None where it has nothing to do.
        """
        step = self._step()
        if max_steps and step >= max_steps:
            say("Skipping training since max_steps has already saved.")
            return None
        own = adapted(hooks)
        if hook_from is not None:
            own.append(hook_from(step))
        config = self._config
        steps, secs = config.save_checkpoints_steps, config.save_checkpoints_secs
        saving = {"save_model_steps": steps} if steps else {"save_model_secs": secs or SAVE_SECS}
        model = self._model(config, own)
        with _flags(max_to_keep=config.keep_checkpoint_max or 0):
            if config.tf_random_seed is not None:
                tf.random.set_seed(config.tf_random_seed)
            return self.run(
                input_fn=self._input_fn(input_fn, "train"),
                model_fn=model.for_training,
                optimizer_fn=model.next_optimizer,
                run_mode=mox.ModeKeys.TRAIN,
                auto_batch=False,
                max_number_of_steps=max_steps or 0,
                log_dir=self.model_dir,
                log_every_n_steps=config.log_step_count_steps or 100,
                save_summary_steps=config.save_summary_steps or 100,
                **saving,
            )

    def evaluate(
        self,
        input_fn: Callable[..., Any],
        steps: int | None = None,
        hooks: Sequence[Any] | None = None,
        checkpoint_path: str | None = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Return `eval_metric_ops` over the whole set, `loss`, the mean over its batches, and `global_step`.

        Args:
            input_fn: as in `train`.
            steps: how many batches at most; None for all.
            hooks: session hooks.
            checkpoint_path: the checkpoint; the latest of `model_dir`, if not given.
            name: what tells this evaluation from others, in the names of folders.
        """
        model = self._model(self._config, adapted(hooks))
        result = self.run(
            input_fn=self._input_fn(input_fn, "eval"),
            model_fn=model.for_evaluation,
            run_mode=mox.ModeKeys.EVAL,
            auto_batch=False,
            max_number_of_steps=steps or 0,
            checkpoint_path=self._checkpoint(checkpoint_path),
        )
        found: dict[str, Any] = {**result.metrics, "global_step": result.global_step}
        listed = ", ".join(f"{key} = {_text(found[key])}" for key in sorted(found))
        say("Saving dict for global step %d: %s", result.global_step, listed)
        self._write_summaries(found, name)
        return found

    def predict(
        self,
        input_fn: Callable[..., Any],
        predict_keys: Sequence[str] | str | None = None,
        hooks: Sequence[Any] | None = None,
        checkpoint_path: str | None = None,
        yield_single_examples: bool = True,  # noqa: FBT001, FBT002 (the signature of TensorFlow 1)
    ) -> Iterator[Any]:
        """Yield the predictions. All of the input is read when the first is asked for.

        Args:
            input_fn: returns a dataset of batches, or tensors of one: features, or (features, labels).
            predict_keys: the names of those that are wanted; all, if not given.
            hooks: session hooks.
            checkpoint_path: the checkpoint; the latest of `model_dir`, if not given.
            yield_single_examples: whether each sample is yielded by itself, rather than each batch.
        """
        model = self._model(self._config, adapted(hooks), predict_keys)
        batches: list[dict[str, Any]] = []
        self.run(
            input_fn=self._input_fn(input_fn, "infer"),
            model_fn=model.for_prediction,
            output_fn=batches.extend,
            output_every_n_steps=1,
            run_mode=mox.ModeKeys.PREDICT,
            auto_batch=False,
            log_every_n_steps=1000,
            checkpoint_path=self._checkpoint(checkpoint_path),
        )
        for batch in batches:
            if not yield_single_examples:
                yield model.unpacked(batch)
                continue
            for number in range(_batch_size(batch)):
                yield model.unpacked({name: values[number] for name, values in batch.items()})

    def export_saved_model(
        self,
        export_dir_base: str,
        serving_input_receiver_fn: Callable[[], Any],
        assets_extra: None = None,
        as_text: bool = False,  # noqa: FBT001, FBT002 (the signature of TensorFlow 1)
        checkpoint_path: str | None = None,
    ) -> bytes:
        """Export the model of mode PREDICT, and return its folder: a new one in `export_dir_base`.

        Args:
            export_dir_base: the folder of the folder.
            serving_input_receiver_fn: returns a `ServingInputReceiver`.
            assets_extra: refused.
            as_text: refused.
            checkpoint_path: the checkpoint; the latest of `model_dir`, if not given.
        """
        if assets_extra or as_text:
            raise UsageError(
                "export_saved_model has assets_extra or as_text: a model is exported as it is. Leave them out."
            )
        model = self._model(self._config)
        checkpoint = self._checkpoint(checkpoint_path)
        return exporting.export(self.run, model, serving_input_receiver_fn, os.fspath(export_dir_base), checkpoint)

    export_savedmodel = export_saved_model

    def latest_checkpoint(self) -> str | None:
        """Return the prefix of the latest checkpoint of `model_dir`; None where there is none."""
        latest: str | None = tf.train.latest_checkpoint(self.model_dir)
        return latest

    def eval_dir(self, name: str | None = None) -> str:
        """Return the folder of the summaries of an evaluation."""
        return os.path.join(self.model_dir, f"eval_{name}" if name else "eval")  # noqa: PTH118 (model_dir is a str)

    def get_variable_names(self) -> list[str]:
        """Return the names of the values that the latest checkpoint holds."""
        return [name for name, _ in tf.train.list_variables(self._checkpoint(None)) if not name.startswith("mox/")]

    def get_variable_value(self, name: str) -> Any:
        """Return a value of the latest checkpoint."""
        return tf.train.load_variable(self._checkpoint(None), name)

    def _model(self, config: RunConfig, hooks: Sequence[Any] = (), keys: Sequence[str] | str | None = None) -> Model:
        return Model(self._model_fn, config=config, params=self._params, hooks=hooks, keys=keys)

    def _input_fn(self, input_fn: Callable[..., Any], mode: str) -> Callable[[str], Any]:
        return lambda _: inputs_of(input_fn, mode, params=self.params, config=self._config)

    def _step(self) -> int:
        latest = self.latest_checkpoint()
        return int(tf.train.load_variable(latest, "global_step")) if latest else 0

    def _checkpoint(self, path: str | None) -> str:
        found = path or self.latest_checkpoint()
        if not found:
            raise UsageError(f"there is no checkpoint in model_dir {self.model_dir!r}: call train before.")
        return os.fspath(found)

    def _write_summaries(self, found: dict[str, Any], name: str | None) -> None:
        with contextlib.closing(tf.summary.create_file_writer(self.eval_dir(name))) as writer, writer.as_default():
            for key, value in found.items():
                if key != "global_step" and np.ndim(value) == 0:
                    tf.summary.scalar(key, value, found["global_step"])


def _temporary() -> str:
    folder = tempfile.mkdtemp()
    say("Using temporary folder as model directory: %s", folder)
    return folder


@contextlib.contextmanager
def _flags(**values: Any) -> Iterator[None]:
    """Set flags of mox for the block."""
    before = {name: mox.get_flag(name) for name in values}
    for name, value in values.items():
        mox.set_flag(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            mox.set_flag(name, value)


def _batch_size(batch: dict[str, Any]) -> int:
    sizes = {name: np.shape(values)[:1] for name, values in batch.items()}
    if len(set(sizes.values())) != 1 or () in sizes.values():
        shapes = {name: np.shape(values) for name, values in batch.items()}
        raise UsageError(
            f"predictions have the shapes {shapes}: their first dimensions are not one batch. Pass "
            "yield_single_examples=False to predict."
        )
    (size,) = next(iter(sizes.values()))
    return int(size)


def _text(value: Any) -> str:
    """Return a metric as TensorFlow 1 logged it: with eight digits."""
    return metric_text(value) if np.ndim(value) else f"{float(value):.8g}"
