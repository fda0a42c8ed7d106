"""Hooks that end a training that no longer gets better."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf

from mox_core import CheckpointError, UsageError, get_collection
from mox_core.sdk import LEARNING_RATE_FACTORS, hook_variable, metric_text
from mox_hooks.rules import EarlyStopping, Plateaus, rises
from mox_hooks.schedule import EvaluationHook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_KEEPING_BEST: Final = "mox/hooks_that_keep_the_best_weights"


class StoppingHook(EvaluationHook):
    """The base of hooks that stop by a rule, whose numbers are saved with the model.

    Attributes:
        monitor: the name in monitor_info of the value that the rule sees.
        rule: the rule.
        way_out: how a run that was stopped can go on, for messages.
    """

    way_out: str

    def __init__(
        self, make_rule: Callable[..., EarlyStopping | Plateaus], *, monitor: str, mode: str, **schedule: Any
    ) -> None:
        super().__init__(**schedule)
        who = type(self).__name__
        if monitor not in self.monitor_info:
            known = ", ".join(map(repr, self.monitor_info))
            raise UsageError(f"monitor of {who} is {monitor!r}; it must be a name of monitor_info: {known}.")
        self.monitor, self.rule = monitor, make_rule(rising=rises(monitor, mode, who))
        if self.rule.patience < 0:
            raise UsageError(f"patience of {who} is {self.rule.patience!r}; it must be 0 or more.")
        self._variables = {
            name: hook_variable(self, name, np.asarray(value)) for name, value in self.rule.remembered().items()
        }

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Restore the numbers of the rule. A run that was stopped before stops again before its first step."""
        super().after_create_session(session, coord)
        for name, variable in self._variables.items():
            setattr(self.rule, name, variable.numpy().item())
        if self.rule.still_stopped():
            self.say(f"training was stopped before: {self.why()}. To go on, {self.way_out}, or leave it out.")
            coord.stopped_by = coord.stopped_by or type(self).__name__

    def remember(self) -> None:
        """Assign the numbers of the rule to the variables that are saved."""
        for name, value in self.rule.remembered().items():
            self._variables[name].assign(value)

    def why(self) -> str:
        """Return why the training stops, and what the best value was, for messages."""
        return f"its best is {metric_text(self.rule.best)} of step {self.rule.best_step}"


class EarlyStoppingHook(StoppingHook):
    """End the training when validation no longer gets better, as `keras.callbacks.EarlyStopping` does.

    `model_fn` returns it in TRAIN and in EVAL, as `LogEvaluationMetricHook`, whose schedule and log it has too:
    `mox.run` needs inter_mode=mox.ModeKeys.EVAL. A resumed run goes on with the count.

    Args:
        monitor_info: name to scalar tensor; all are logged.
        monitor: the name of the value that decides.
        batch_size: samples in a batch, as given to `mox.run`.
        samples_in_train: samples in an epoch of training.
        samples_in_eval: samples to validate with.
        evaluate_every_n_epochs: epochs between two evaluations; may be a fraction.
        min_delta: a value that is not better by more than this is no better.
        patience: evaluations in a row that may be no better; the training stops with the last of them, so with the
            first for 0 or 1.
        mode: 'max' if higher values are better, 'min' if lower ones are, 'auto' for what the monitor's name implies.
        baseline: only values better than this end the waiting.
        restore_best_weights: whether the model has its best weights at the end: those of the best evaluation. They are
            kept in `<log_dir>/best`.
        prefix: what a line of the log begins with.

    Raises:
        UsageError: if an argument is not allowed.
    """

    way_out = "give it more patience"

    def __init__(  # noqa: PLR0913, PLR0917 (the signature of the manual's API)
        self,
        monitor_info: Mapping[str, tf.Tensor],
        monitor: str,
        batch_size: int,
        samples_in_train: int,
        samples_in_eval: int,
        evaluate_every_n_epochs: float = 1,
        min_delta: float = 0,
        patience: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,  # noqa: FBT001, FBT002 (as above)
        prefix: str = "[EarlyStopping]",
    ) -> None:
        super().__init__(
            functools.partial(EarlyStopping, min_delta=min_delta, patience=patience, baseline=baseline),
            monitor=monitor,
            mode=mode,
            monitor_info=monitor_info,
            batch_size=batch_size,
            samples_in_train=samples_in_train,
            samples_in_eval=samples_in_eval,
            evaluate_every_n_epochs=evaluate_every_n_epochs,
            prefix=prefix,
        )
        self._keeps_best = restore_best_weights
        if restore_best_weights:
            if get_collection(_KEEPING_BEST):  # of this replica
                raise UsageError(
                    "two hooks of model_fn have restore_best_weights=True; one model has one best: choose."
                )
            tf.compat.v1.add_to_collection(_KEEPING_BEST, self)

    def evaluated(self, run_context: Any, means: Mapping[str, float]) -> None:
        """Save the best weights, and stop after `patience` evaluations that are no better."""
        if self.rule.see(means[self.monitor], run_context.global_step):
            run_context.note_best(run_context.session.save_best() if self._keeps_best else None)
        self.remember()
        if self.rule.stopped:
            self.say(f"training stops: {self.why()}.")
            run_context.request_stop()

    def why(self) -> str:
        """Return why the training stops, for messages."""
        return f"{self.monitor} is no better for {self.rule.wait} evaluations, {super().why()}"

    def end(self, session: Any) -> None:
        """Restore the best weights, unless an error or a signal has cut the training short."""
        if not (self._keeps_best and session.complete and self.rule.evaluations):
            return
        try:
            self.say(f"the weights are those of step {self.rule.best_step} again: {session.restore_best()}")
        except CheckpointError as error:
            tf.get_logger().warning("%s The weights stay as they are.", error)


class PlateauLREarlyStoppingHook(StoppingHook):
    """Lower the learning rate on plateaus, as `keras.callbacks.ReduceLROnPlateau` does, and end the training.

    A plateau is `patience` evaluations in a row that are no better. At each one the learning rate of all optimizers is
    multiplied by `factor`; schedules go on, and their values are multiplied. At the last of `plateaus_before_stop`
    plateaus with nothing better between them, the training stops. A resumed run goes on with the counts and the rate.

    Args:
        monitor_info: name to scalar tensor; all are logged.
        monitor: the name of the value that decides.
        batch_size: samples in a batch, as given to `mox.run`.
        samples_in_train: samples in an epoch of training.
        samples_in_eval: samples to validate with.
        evaluate_every_n_epochs: epochs between two evaluations; may be a fraction.
        factor: factor of the learning rate; above 0 and below 1.
        patience: evaluations in a row that are no better, of which a plateau consists.
        cooldown: evaluations after a plateau that do not count.
        min_delta: a value that is not better by more than this is no better.
        min_lr: the learning rate is lowered to this at least; with a schedule, that of the step of the evaluation.
        plateaus_before_stop: the training stops at this many plateaus in a row.
        mode: 'max' if higher values are better, 'min' if lower ones are, 'auto' for what the monitor's name implies.
        prefix: what a line of the log begins with.

    Raises:
        UsageError: if an argument is not allowed.
    """

    rule: Plateaus
    way_out = "allow more plateaus"

    def __init__(  # noqa: PLR0913, PLR0917 (the signature of the manual's API)
        self,
        monitor_info: Mapping[str, tf.Tensor],
        monitor: str,
        batch_size: int,
        samples_in_train: int,
        samples_in_eval: int,
        evaluate_every_n_epochs: float = 1,
        factor: float = 0.1,
        patience: int = 10,
        cooldown: int = 0,
        min_delta: float = 1e-4,
        min_lr: float = 0.0,
        plateaus_before_stop: int = 3,
        mode: str = "auto",
        prefix: str = "[PlateauLREarlyStopping]",
    ) -> None:
        who = type(self).__name__
        if not 0 < factor < 1:
            raise UsageError(f"factor of {who} is {factor!r}; it must be above 0 and below 1.")
        for name, value, lowest in (
            ("cooldown", cooldown, 0),
            ("min_lr", min_lr, 0),
            ("plateaus_before_stop", plateaus_before_stop, 1),
        ):
            if not value >= lowest:
                raise UsageError(f"{name} of {who} is {value!r}; it must be {lowest} or more.")
        super().__init__(
            functools.partial(
                Plateaus,
                min_delta=min_delta,
                patience=patience,
                cooldown=cooldown,
                plateaus_before_stop=plateaus_before_stop,
            ),
            monitor=monitor,
            mode=mode,
            monitor_info=monitor_info,
            batch_size=batch_size,
            samples_in_train=samples_in_train,
            samples_in_eval=samples_in_eval,
            evaluate_every_n_epochs=evaluate_every_n_epochs,
            prefix=prefix,
        )
        self._reduction, self._min_lr = factor, min_lr
        self._factor = hook_variable(self, "learning_rate_factor", np.float32(1))
        tf.compat.v1.add_to_collection(LEARNING_RATE_FACTORS, self._factor)

    def evaluated(self, run_context: Any, means: Mapping[str, float]) -> None:
        """Lower the learning rate at a plateau, and stop at the last one."""
        plateau = self.rule.see(means[self.monitor], run_context.global_step)
        if self.rule.best_step == run_context.global_step:
            run_context.note_best()
        self.remember()
        if self.rule.stopped:
            self.say(f"training stops: {self.why()}.")
            run_context.request_stop()
        elif plateau:
            self._lower(run_context)

    def _lower(self, run_context: Any) -> None:
        rate = float(run_context.learning_rate)
        lower = max(rate * self._reduction, self._min_lr)
        where = f"plateau {self.rule.plateaus} of {self.rule.plateaus_before_stop} at step {run_context.global_step}"
        if np.float32(lower) < np.float32(rate):
            self._factor.assign(self._factor * (lower / rate))
            self.say(f"{where}: the learning rate goes from {rate:.4g} to {lower:.4g}")
        else:
            self.say(f"{where}: the learning rate stays {rate:.4g}, which is not above min_lr")

    def why(self) -> str:
        """Return why the training stops, for messages."""
        return f"{self.monitor} is no better for {self.rule.plateaus} plateaus, {super().why()}"
