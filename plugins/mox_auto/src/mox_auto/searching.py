"""A search for parameters: short trainings, one after another, of which the best is taken."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from typing import TYPE_CHECKING, Any

import attrs
import optuna
import tensorflow as tf
from attrs import define, field

from mox_auto import candidates
from mox_auto.running import check_spec, takes_spec
from mox_auto.specs import ModelSize, ParamSpec, described, given
from mox_auto.training import Score, Trainings
from mox_core.errors import UsageError
from mox_core.sdk import info_logging
from mox_core.whole_numbers import is_whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def search(  # noqa: PLR0913, PLR0917  (MoXing's arguments)
    input_fn: Callable[..., Any],
    model_fn: Callable[..., Any],
    optimizer_fn: Any,
    batch_size: int | None,
    auto_batch: bool,  # noqa: FBT001
    total_steps: int,
    evaluation_total_steps: int,
    model_size: ModelSize | None = None,
    by_acc: bool = True,  # noqa: FBT001, FBT002
    checkpoint_path: Any = None,
    select_by_eval: bool = False,  # noqa: FBT001, FBT002
    weight_decay_diff_thres: float = 0.05,
    max_thres: int = 10,
    window: int = 50,
    warmup_steps: int = 0,
    warmup_lr: float = 0.01,
    evaluate_every_n_steps: int = 1,
    log_every_n_steps: int = 10,
    init_learning_rate: float | None = None,
    end_learning_rate: float | None = None,
    acc_name: str = "accuracy",
    loss_name: str = "loss",
    search_learning_rate: bool = True,  # noqa: FBT001, FBT002
    param_spec: ParamSpec | None = None,
    param_list_spec: ParamSpec | None = None,
) -> ParamSpec:
    """Search parameters by short trainings, and return the best ones.

    Each training is a `mox.run` of its own, of `total_steps` steps from the same start, without log_dir. The first one
    has the values of `param_spec`. Then the learning rates of a range are tried, from low to high, and the values of
    `param_list_spec`:

    - by default one parameter after another, each with the best values so far of the others. A training is judged by
      the mean of its last values, and given up where that is worse than the median of the others at the same step
      (optuna's MedianPruner); not where weight decays are compared.
    - with `select_by_eval=True` every combination is trained, and judged by an evaluation.

    MoXing published the arguments, and their meanings in a line each; how its search went is not known. This one is as
    said here. With the same `tf.random.set_seed`, it ends with the same values.

    Args:
        input_fn: that of `mox.run`.
        model_fn: that of `mox.run`, which may take `param_spec` by name or in `**kwargs`. Its hooks that run the inter
            mode are left out, and its export_spec.
        optimizer_fn: that of `mox.run`, which may take `param_spec`; a list with several losses.
        batch_size: that of `mox.run`.
        auto_batch: that of `mox.run`.
        total_steps: the steps of each training.
        evaluation_total_steps: the steps of an evaluation; only with `select_by_eval`.
        model_size: of a SMALL model, learning rates are tried by factors of the root of ten, of a LARGE one by factors
            of ten. By default a model is large from ten million trained numbers on.
        by_acc: whether the highest accuracy is the best, or the lowest loss.
        checkpoint_path: that of `mox.run`: where trainings begin.
        select_by_eval: whether trainings are judged by an evaluation, and none is left out.
        weight_decay_diff_thres: the largest weight decay is taken whose value is within this part of the best one, all
            else being equal: a short training shows what decay costs, and not what it is good for.
        max_thres: after so many learning rates in a row that were no better, higher ones are left out.
        window: over how many of the last steps a training is judged.
        warmup_steps: so many first steps have `warmup_lr`; `optimizer_fn` gets a tensor for the learning rate then.
        warmup_lr: their learning rate.
        evaluate_every_n_steps: how often it is looked at whether a training is to be given up.
        log_every_n_steps: that of `mox.run`.
        init_learning_rate: the lowest learning rate; by default a tenth of that of `param_spec`.
        end_learning_rate: the highest one; by default ten times that of `param_spec`. Without any, 0.0001 to 1.
        acc_name: the name of the accuracy in log_info. The value of each step counts; of a metric of Keras, what it is
            at the end, which it has counted since the last log line.
        loss_name: the name of the loss in log_info; where it is missing, the loss of the ModelSpec is judged.
        search_learning_rate: whether a range of learning rates is searched; a list of them takes its place.
        param_spec: the values to begin with.
        param_list_spec: lists of values to try.

    Returns:
        param_spec with the best values.

    Raises:
        UsageError: if an argument is not allowed, or no training ends with a finite value.
    """
    start = ParamSpec() if param_spec is None else param_spec
    check_spec("param_spec", start)
    if param_list_spec is not None:
        check_spec("param_list_spec", param_list_spec)
    _check_functions(model_fn, optimizer_fn)
    counts = {"total_steps": total_steps, "evaluation_total_steps": evaluation_total_steps, "max_thres": max_thres}
    counts |= {"window": window, "evaluate_every_n_steps": evaluate_every_n_steps}
    _check_numbers(counts, warmup_steps=warmup_steps, warmup_lr=warmup_lr, threshold=weight_decay_diff_thres)
    if model_size is not None and not isinstance(model_size, ModelSize):
        raise UsageError(f"model_size is {model_size!r}; it must be mox.auto.ModelSize.SMALL or LARGE, or None.")
    lists = candidates.lists_of(param_list_spec)
    rates = None
    if search_learning_rate and "learning_rate" not in lists:
        rates = candidates.range_of(start.learning_rate, init_learning_rate, end_learning_rate)
        start = candidates.with_middle_rate(start, *rates)
    if warmup_steps and start.learning_rate is None and "learning_rate" not in lists:
        raise UsageError("warmup_steps goes with a learning rate: give param_spec one.")
    trainings = Trainings(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=optimizer_fn,
        batch_size=batch_size,
        auto_batch=auto_batch,
        checkpoint_path=checkpoint_path,
        steps=total_steps,
        evaluation_steps=evaluation_total_steps if select_by_eval else None,
        name=acc_name if by_acc else loss_name,
        is_loss=not by_acc,
        window=window,
        every=evaluate_every_n_steps,
        warmup_steps=warmup_steps,
        warmup_lr=float(warmup_lr),
        log_every_n_steps=log_every_n_steps,
    )
    with _quiet_optuna(), _one_seed(), info_logging():
        found = _Search(trainings, by_acc, max_thres, _new_study(by_acc, total_steps))
        found.go(start, lists, rates, model_size, every_one=select_by_eval)
        best = found.best(weight_decay_diff_thres)
        found.report(best)
    return best


def _check_functions(model_fn: Any, optimizer_fn: Any) -> None:
    optimizer_fns = optimizer_fn if isinstance(optimizer_fn, (list, tuple)) else [optimizer_fn]
    if not any(map(takes_spec, [model_fn, *optimizer_fns])):
        raise UsageError(
            "mox.auto.search: neither model_fn nor optimizer_fn takes param_spec, so all trainings would be the same: "
            'write def optimizer_fn(**kwargs), and read kwargs["param_spec"].learning_rate in it.'
        )


def _check_numbers(counts: dict[str, Any], *, warmup_steps: Any, warmup_lr: Any, threshold: Any) -> None:
    for name, value in counts.items():
        if not is_whole_number(value, least=1):
            raise UsageError(f"{name} is {value!r}; it must be a whole number, 1 or more.")
    if not is_whole_number(warmup_steps, least=0):
        raise UsageError(f"warmup_steps is {warmup_steps!r}; it must be a whole number, 0 or more.")
    for name, value in (("warmup_lr", warmup_lr), ("weight_decay_diff_thres", threshold)):
        if not candidates.is_number(value) or value < 0:
            raise UsageError(f"{name} is {value!r}; it must be a number, 0 or more.")


@contextlib.contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Keep optuna from logging each trial beside the lines of the search."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


@contextlib.contextmanager
def _one_seed() -> Iterator[None]:
    """Let all trainings of the block begin with the same weights and the same order, also where no seed is set."""
    if tf.compat.v1.random.get_seed(None)[0] is not None:
        yield
        return
    tf.random.set_seed(secrets.randbits(31))
    try:
        yield
    finally:
        tf.compat.v1.random.set_random_seed(None)


def _new_study(by_acc: bool, steps: int) -> optuna.Study:  # noqa: FBT001
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=steps // 2)
    return optuna.create_study(direction="maximize" if by_acc else "minimize", pruner=pruner)


@define
class _Search:
    """The trainings of a search.

    Attributes:
        scores: each parameters that were tried with how it did, in this order.
    """

    trainings: Trainings
    by_acc: bool
    max_thres: int
    study: optuna.Study
    scores: list[tuple[ParamSpec, Score]] = field(factory=list, init=False)

    def go(
        self,
        start: ParamSpec,
        lists: dict[str, list[float]],
        rates: tuple[float, float] | None,
        size: ModelSize | None,
        *,
        every_one: bool,
    ) -> None:
        """Train with the values to begin with, then with others."""
        trained = self._train(start)
        if rates is not None:
            size = size or (ModelSize.LARGE if trained.size >= candidates.LARGE else ModelSize.SMALL)
            lists = {"learning_rate": candidates.rates_between(*rates, size), **lists}
        if not every_one:
            for name, values in lists.items():
                self._try(self._leading(), {name: values})
            return
        others = {name: values for name, values in lists.items() if name != "learning_rate"}
        for chosen in itertools.product(*others.values()):
            spec = attrs.evolve(start, **dict(zip(others, chosen, strict=True)))
            if "learning_rate" in lists:
                self._try(spec, {"learning_rate": lists["learning_rate"]})
            else:
                self._train(spec)

    def best(self, threshold: float) -> ParamSpec:
        """Return the best parameters, with the largest weight decay that does nearly as well.

        Raises:
            UsageError: if there are none.
        """
        leading = self._leading()
        value = self._value_of(leading)
        if value is None:
            raise UsageError(
                "mox.auto.search: no training ended with a finite value. Try lower learning rates: pass "
                "end_learning_rate, or another param_spec."
            )
        near = [
            spec
            for spec, score in self.scores
            if spec.weight_decay is not None
            and attrs.evolve(spec, weight_decay=leading.weight_decay) == leading
            and score.value is not None
            and not score.given_up
            and abs(score.value - value) <= threshold * abs(value)
        ]
        return max(near, key=lambda spec: spec.weight_decay, default=leading)

    def report(self, best: ParamSpec) -> None:
        """Log all trainings, the best first, and which is taken."""
        log = tf.get_logger().info
        log("[auto] %s trainings, the best first:", len(self.scores))
        for spec, score in sorted(self.scores, key=lambda pair: self._rank(pair[1]), reverse=True):
            log("[auto]   %s  %s", self._shown(score), described(spec))
        log("[auto] taken: %s", described(best))

    def _try(self, base: ParamSpec, values: dict[str, list[float]]) -> None:
        ((name, tried),) = values.items()
        worse = 0
        for value in sorted(tried) if name == "learning_rate" else tried:
            before = self._leading()
            self._train(attrs.evolve(base, **{name: value}), may_give_up=name != "weight_decay")
            worse = worse + 1 if self._leading() == before else 0
            if name == "learning_rate" and worse >= self.max_thres:
                break

    def _train(self, spec: ParamSpec, *, may_give_up: bool = True) -> Score:
        for done, score in self.scores:
            if done == spec:
                return score
        log = tf.get_logger().info
        log("[auto] training %s: %s", len(self.scores) + 1, described(spec))
        parameters = dict(given(spec))
        self.study.enqueue_trial(parameters)
        trial = self.study.ask(
            {name: optuna.distributions.FloatDistribution(value, value) for name, value in parameters.items()}
        )

        def report(value: float, step: int) -> bool:
            trial.report(value, step)
            return may_give_up and trial.should_prune()

        score = self.trainings.score(spec, report)
        self._tell(trial, score)
        self.scores.append((spec, score))
        log("[auto] training %s: %s", len(self.scores), self._shown(score))
        return score

    def _tell(self, trial: optuna.Trial, score: Score) -> None:
        if score.given_up:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif score.value is None:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self.study.tell(trial, score.value)

    def _leading(self) -> ParamSpec:
        """Return the best parameters so far; of equal ones, those that were tried first."""
        return max(self.scores, key=lambda pair: self._rank(pair[1]))[0]

    def _value_of(self, spec: ParamSpec) -> float | None:
        return next(score.value for tried, score in self.scores if tried == spec)

    def _rank(self, score: Score) -> tuple[int, float]:
        """Return what is higher for a better training: one that was given up or diverged is behind all others."""
        if score.value is None:
            return (0, 0.0)
        return (1 if score.given_up else 2, score.value if self.by_acc else -score.value)

    def _shown(self, score: Score) -> str:
        value = "diverged" if score.value is None else f"{self.trainings.name} {score.value:.4g}"
        return f"{value} (given up)" if score.given_up else value
