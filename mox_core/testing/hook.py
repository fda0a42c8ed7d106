"""The contract of session hooks."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import tensorflow as tf
from attrs import define, field

import mox_core as mox
from mox_core.session_hooks import REQUIRED_METHODS
from mox_core.testing import optimizer_checks, quadratic
from mox_core.testing.helpers import attempt, variables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_METHODS = ("begin", "after_create_session", "before_run", "after_run", "end")
_OF_HOOKS = "hooks/"


class HookContract:
    """Tests for a session hook, which users return in `mox.ModelSpec(hooks=[...])`.

    A small model is trained with it by `mox.run`. The tests check its three required methods; the order in which its
    methods are called, also if the training fails; that it does not change the weights; that a resumed training ends
    like an uninterrupted one; and that it runs the inter mode if, and only if, `run_inter_mode` returns True.

    Example:
        class TestProfilerHook(HookContract):
            def hook(self):
                return mox.ProfilerHook(every_n_steps=2)

    Attributes:
        steps: number of steps of a training: enough for the hook to act, for example to evaluate. The interrupted
            training stops one step before half of them.
        changes_weights: whether the hook is meant to affect the weights, for example by a lower learning rate.
    """

    steps: ClassVar[int] = 8
    changes_weights: ClassVar[bool] = False

    def hook(self) -> Any:
        """Return a new hook. It is called inside `model_fn`, in TRAIN and in EVAL, so that it can make tensors.

        The hook has to feed the placeholders that it makes. Batches have 8 samples, and an epoch has 40.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks the method `hook`")

    def test_it_says_what_it_is(self, tmp_path: Path) -> None:
        """It derives from `mox.AggregativeSessionRunHook`, and its three required methods return a bool."""
        spy = _Spy(self.hook)
        self._train(tmp_path, spy, steps=1)
        for name, answer in spy.answers.items():
            assert isinstance(answer, bool), f"{name} of {spy.name} returns {answer!r}; it must be True or False."

    def test_its_methods_work_in_order(self, tmp_path: Path) -> None:
        """begin, after_create_session, pairs of before_run and after_run, and end are called in this order."""
        spy = _Spy(self.hook)
        self._train(tmp_path, spy)
        first, *steps, last = spy.calls
        order = ", ".join(spy.calls)
        assert (first, steps[0], last) == ("begin", "after_create_session", "end"), f"the methods were called: {order}."
        pairs = list(zip(steps[1::2], steps[2::2], strict=True))
        assert all(pair == ("before_run", "after_run") for pair in pairs), f"the methods were called: {order}."
        assert pairs or not spy.wants_steps, (
            f"{spy.name} has before_run or after_run, and neither is called in {self.steps} steps: let next_step "
            "return the step itself or a later one, give hook() a shorter schedule, or set `steps`."
        )

    def test_it_ends_when_the_training_fails(self, tmp_path: Path) -> None:
        """After a step has failed, `end` raises nothing."""
        spy = _Spy(self.hook)
        try:
            self._train(tmp_path, spy, then=[_Failing])
        except AssertionError:
            if not isinstance(spy.failed_by, _StepFailedError):
                raise  # something else than the step has failed
        assert "end" not in spy.raised, (
            f"end of {spy.name} raises when a training has failed: {spy.raised['end']}. Let it cope with what was not "
            "begun or not done; session.complete tells."
        )

    def test_it_leaves_the_weights_alone(self, tmp_path: Path) -> None:
        """The weights are the same with the hook and without it, unless `changes_weights` is set."""
        if self.changes_weights:
            pytest.skip("it `changes_weights`")
        spy = _Spy(self.hook)
        with_hook = self._train(tmp_path / "with", spy)
        without = quadratic.train(_sgd, with_hook.global_step, tmp_path / "without")
        both = [variables_of(result.checkpoint) for result in (with_hook, without)]
        names = [name for name in optimizer_checks.differing(*both, tolerance=0) if not name.startswith(_OF_HOOKS)]
        assert not names, (
            f"{spy.name} changes what is trained: {', '.join(names)}. Fetch and look without assigning; if it is meant "
            "to, set changes_weights = True."
        )

    def test_it_survives_a_resume(self, tmp_path: Path) -> None:
        """A resumed training ends like an uninterrupted one: at the same step, with the same variables."""
        spy = _Spy(self.hook)
        whole = self._train(tmp_path / "whole", spy)
        self._train(tmp_path / "parts", _Spy(self.hook), steps=max(1, self.steps // 2 - 1))
        parts = self._train(tmp_path / "parts", _Spy(self.hook))
        assert (parts.global_step, parts.stopped_by) == (whole.global_step, whole.stopped_by), (
            f"with {spy.name} a training ends at step {whole.global_step} ({whole.stopped_by}), and one that was "
            f"interrupted at step {parts.global_step} ({parts.stopped_by}): {_REMEMBER}"
        )
        names = optimizer_checks.differing(variables_of(whole.checkpoint), variables_of(parts.checkpoint), tolerance=0)
        assert not names, f"{spy.name} differs after a resume in {', '.join(names)}: {_REMEMBER}"

    def test_it_evaluates_as_it_says(self, tmp_path: Path) -> None:
        """It runs the inter mode if `run_inter_mode` returns True; else it works without one. It also works in EVAL."""
        spy = _Spy(self.hook)
        trained = self._train(tmp_path / "with", spy)
        if spy.answers["run_inter_mode"]:
            assert spy.evaluations, (
                f"{spy.name} says that it runs the inter mode, and evaluates nothing in {self.steps} steps: call "
                "run_context.run_inter_mode(max_steps) in after_run, give hook() a shorter schedule, or let "
                "run_inter_mode return False."
            )
        else:
            self._train(tmp_path / "without", _Spy(self.hook), inter_mode=None)
        with attempt(f"EVAL with {spy.name}"):
            quadratic.train(
                _sgd,
                0,
                None,
                make_hooks=_Spy(self.hook).make,
                run_mode=mox.ModeKeys.EVAL,
                checkpoint_path=trained.checkpoint,
            )

    def _train(
        self,
        log_dir: Path,
        spy: _Spy,
        *,
        steps: int | None = None,
        then: Sequence[Callable[[], Any]] = (),
        inter_mode: str | None = mox.ModeKeys.EVAL,
    ) -> mox.RunResult:
        """Train with the hook, followed by the hooks of `then`."""
        where = "" if inter_mode else " and no inter mode, of which run_inter_mode says that it needs none,"
        with attempt(f"a training with {spy.name}{where}"):
            try:
                return quadratic.train(
                    _sgd,
                    steps or self.steps,
                    log_dir,
                    make_hooks=functools.partial(spy.make, then=then),
                    on_eval=spy.count_evaluation,
                    inter_mode=inter_mode,
                )
            except Exception as error:
                spy.failed_by = error
                raise


_REMEMBER = (
    "remember by mox_core.sdk.hook_variable, not in attributes, and count from the global step, not from the "
    "first step of the run."
)


def _sgd() -> Any:
    return tf.compat.v1.train.GradientDescentOptimizer(0.05)


@define
class _Spy:
    """A factory of hooks that records the calls of the one of TRAIN.

    It replaces methods of the instance, not of the class: the loop looks at what the class overrides.
    """

    _make: Callable[[], Any]
    name: str = "the hook"
    wants_steps: bool = False
    answers: dict[str, Any] = field(factory=dict)
    calls: list[str] = field(factory=list)
    raised: dict[str, str] = field(factory=dict)
    evaluations: int = 0
    failed_by: Exception | None = None

    def make(self, mode: str, *, then: Sequence[Callable[[], Any]] = ()) -> list[Any]:
        """Return the hooks of a mode; called inside `model_fn`."""
        hook = self._make()
        if mode != mox.ModeKeys.TRAIN:
            return [hook]
        assert isinstance(hook, mox.AggregativeSessionRunHook), (
            f"hook() returns a {type(hook).__name__!r}; derive its class from mox.AggregativeSessionRunHook."
        )
        self._watch(hook)
        return [hook, *(make() for make in then)]

    def count_evaluation(self) -> None:
        """Count an evaluation; called when the samples of EVAL are read."""
        self.evaluations += 1

    def _watch(self, hook: Any) -> None:
        base = mox.AggregativeSessionRunHook
        self.name = f"hook {type(hook).__name__!r}"
        self.answers = {name: getattr(hook, name)() for name in REQUIRED_METHODS}
        self.wants_steps = any(
            getattr(type(hook), method) is not getattr(base, method) for method in ("before_run", "after_run")
        )
        for method in _METHODS:
            setattr(hook, method, functools.partial(self._call, method, getattr(hook, method)))
        hook.next_step = functools.partial(self._next_step, hook.next_step)

    def _call(self, method: str, original: Callable[..., Any], *args: Any) -> Any:
        self.calls.append(method)
        try:
            return original(*args)
        except Exception as error:
            self.raised[method] = f"{type(error).__name__}: {error}"
            raise

    def _next_step(self, original: Callable[[int], Any], step: int) -> Any:
        following = original(step)
        assert following is None or (isinstance(following, int) and following >= step), (
            f"next_step({step}) of {self.name} is {following!r}; it must be {step}, a later step, or None."
        )
        return following


class _StepFailedError(Exception):
    """The exception of `_Failing`."""


class _Failing(mox.AggregativeSessionRunHook):
    """A hook that raises in its second step."""

    def __init__(self) -> None:
        super().__init__()
        self._steps = itertools.count(1)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        del run_context, run_values
        if next(self._steps) > 1:
            raise _StepFailedError("a step has failed")

    def support_aggregation(self) -> bool:
        return False

    def support_sync_workers(self) -> bool:
        return False

    def run_inter_mode(self) -> bool:
        return False
