"""One short training of a search: its score."""

from __future__ import annotations

import math
import tempfile
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import tensorflow as tf
from attrs import define, field, frozen

import mox_core as mox
from mox_auto.running import with_spec
from mox_core.errors import NanLossError, UsageError
from mox_core.sdk import number_of_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_auto.specs import ParamSpec

_VALUE: Final = "mox_auto_value"
"""The name under which the value that is judged is put out."""


class GivenUp(Exception):  # noqa: N818  (no error: it ends a training from inside of it)
    """A training is given up, as others were better at the same step."""


@frozen(kw_only=True)
class Trainings:
    """What all trainings of a search have in common; the attributes are arguments of `mox.auto.search`.

    Attributes:
        name: the value of `log_info` that is judged.
        is_loss: whether that is the loss, which may be missing in `log_info`.
        evaluation_steps: how many steps of EVAL judge a training; None: its own values do.
    """

    input_fn: Callable[..., Any]
    model_fn: Callable[..., Any]
    optimizer_fn: Any
    batch_size: int | None
    auto_batch: bool
    checkpoint_path: Any
    steps: int
    evaluation_steps: int | None
    name: str
    is_loss: bool
    window: int
    every: int
    warmup_steps: int
    warmup_lr: float
    log_every_n_steps: int

    def score(self, spec: ParamSpec, report: Callable[[float, int], bool]) -> Score:
        """Train with some parameters.

        Args:
            spec: the parameters.
            report: is told the value so far and the step, and returns whether to give the training up.
        """
        training = _Training(self, spec, report)
        try:
            value = training.evaluated() if self.evaluation_steps else training.trained()
        except NanLossError:
            value = math.nan
        except GivenUp:
            return Score(value=training.value, given_up=True, size=training.size)
        return Score(value=value if math.isfinite(value) else None, given_up=False, size=training.size)


@frozen(kw_only=True)
class Score:
    """How a training did.

    Attributes:
        value: the value that is judged; None where it is not finite.
        given_up: whether it was ended early.
        size: how many numbers the trained variables of the model hold.
    """

    value: float | None
    given_up: bool
    size: int


@define
class _Training:
    of: Trainings
    spec: ParamSpec
    report: Callable[[float, int], bool]
    size: int = field(default=0, init=False)
    _values: list[float] = field(factory=list, init=False)
    _step: int = field(default=0, init=False)
    _has_curve: bool = field(default=True, init=False)

    @property
    def value(self) -> float:
        """The mean of the last values of the training."""
        return float(np.mean(self._values[-self.of.window :]))

    def trained(self) -> float:
        """Train, and return the mean of its last values."""
        result = self._train(output_fn=self._take, output_every_n_steps=self.of.every)
        return self.value if self._has_curve else float(result.metrics[self.of.name])

    def evaluated(self) -> float:
        """Train in a temporary folder, and return the value of an evaluation."""
        with tempfile.TemporaryDirectory(prefix="mox-auto-", ignore_cleanup_errors=True) as folder:
            self._train(log_dir=folder)
            result = self._run(
                run_mode=mox.ModeKeys.EVAL, checkpoint_path=folder, max_number_of_steps=self.of.evaluation_steps
            )
        return float(result.metrics[self.of.name])

    def _train(self, **options: Any) -> mox.RunResult:
        several = isinstance(self.of.optimizer_fn, (list, tuple))
        functions = [self._optimizer_fn(each) for each in (self.of.optimizer_fn if several else [self.of.optimizer_fn])]
        return self._run(
            run_mode=mox.ModeKeys.TRAIN,
            optimizer_fn=functions if several else functions[0],
            max_number_of_steps=self.of.steps,
            **{"checkpoint_path": self.of.checkpoint_path, **options},
        )

    def _run(self, **options: Any) -> mox.RunResult:
        return mox.run(
            input_fn=self.of.input_fn,
            model_fn=self._model_fn,
            batch_size=self.of.batch_size,
            auto_batch=self.of.auto_batch,
            log_every_n_steps=self.of.log_every_n_steps,
            **options,
        )

    def _take(self, outputs: Sequence[dict[str, Any]]) -> None:
        self._values += [float(np.mean(each[_VALUE])) for each in outputs]
        self._step = min(self._step + self.of.every, self.of.steps)
        if self._has_curve and math.isfinite(self.value) and self.report(self.value, self._step):
            raise GivenUp

    def _model_fn(self, inputs: Any, mode: str) -> Any:
        spec = with_spec(self.of.model_fn, self.spec)(inputs, mode)
        if not isinstance(spec, mox.ModelSpec):
            return spec  # which mox.run refuses
        log_info = dict(spec.log_info or {})
        loss = tf.add_n(spec.loss) if isinstance(spec.loss, (list, tuple)) else spec.loss
        if self.of.name not in log_info:
            if not self.of.is_loss:
                raise UsageError(
                    f"mox.auto.search judges by {self.of.name!r}, which log_info of model_fn has not: it has "
                    f"{', '.join(map(repr, log_info)) or 'nothing'}. Pass acc_name, or by_acc=False for the loss."
                )
            log_info[self.of.name] = loss
        value = log_info[self.of.name]
        self._has_curve = tf.is_tensor(value)  # a metric of Keras, or a pair of tf.metrics, counts for itself
        return attrs.evolve(
            spec,
            log_info=log_info,
            output_info={_VALUE: value if self._has_curve else loss},
            export_spec=None,
            hooks=[hook for hook in spec.hooks if not hook.run_inter_mode()],
        )

    def _optimizer_fn(self, function: Any) -> Callable[[], Any]:
        def optimizer_fn() -> Any:
            if number_of_workers() > 1:
                raise UsageError("mox.auto.search trains in one process: call it without --worker_hosts.")
            self.size = sum(int(np.prod(each.shape)) for each in tf.compat.v1.trainable_variables())
            spec = self.spec
            if self.of.warmup_steps:
                step = tf.cast(tf.compat.v1.train.get_or_create_global_step(), tf.int64)
                first, then = (tf.constant(rate, tf.float32) for rate in (self.of.warmup_lr, spec.learning_rate))
                spec = attrs.evolve(spec, learning_rate=tf.where(step < self.of.warmup_steps, first, then))
            return with_spec(function, spec)()

        return optimizer_fn
