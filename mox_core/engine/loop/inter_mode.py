"""The inter mode: evaluation between two steps of training, with the weights of the training."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
from attrs import define, field

from mox_core.engine.hooks.hook_runner import HookRunner, check_fed
from mox_core.engine.interruption import RunInterrupted
from mox_core.engine.loop.reports import check_seen
from mox_core.engine.loop.summaries import NoSummaryWriter, SummaryWriter, open_writer
from mox_core.engine.model.step_runner import StepRunner
from mox_core.errors import UsageError
from mox_core.name_lists import some
from mox_core.session_hooks import watches_inter_mode
from mox_core.terminal.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mox_core.engine.distribute.collectives import Collective
    from mox_core.engine.input.pipeline import InputPipeline, OpenInput
    from mox_core.engine.loop.signals import ReceivedSignal
    from mox_core.engine.model.model_graph import ModelGraph
    from mox_core.engine.model.step_runner import Outcome
    from mox_core.run_history import Recorder
    from mox_core.session_hooks import AggregativeSessionRunHook
    from mox_core.specs import ModelSpec

_SECONDS_PER_CALL: Final = 1.0
"""A compiled call, which cannot be interrupted, lasts about this long at most."""

_OTHER_MEANS: Final = (
    "two hooks give %s different values at step %d, of other samples or other tensors: the history and the summaries "
    "keep the first. Give them other names in monitor_info."
)


def monitored_tensors(spec: ModelSpec) -> dict[str, Any]:
    """Return the tensors and metrics whose means the hooks of the inter mode want: by `<number of the hook>/<name>`."""
    return {
        f"{number}/{name}": tensor
        for number, hook in enumerate(spec.hooks)
        if hook.run_inter_mode()
        for name, tensor in (getattr(hook, "monitor_info", None) or {}).items()
    }


@define
class InterMode:
    """The inter mode, run when a hook of the training asks for it.

    Where its graph has placeholders, the hooks of that graph feed them: those that do not run the inter mode. Elsewhere
    those of them see its steps that override `after_inter_mode`.

    Attributes:
        graph: the graph of the inter mode, with `monitored_tensors` as its log values.
        pipeline: its input; every evaluation starts at its beginning.
        training_hooks: the hooks of TRAIN, of which some ask.
        log_dir: where means are written as summaries beside those of the training, None for nowhere.
        collective: the workers, of which each evaluates its share of the input.
        signal: whether the process was asked to end: then an evaluation is left unfinished.
        recorder: keeps the means.
        weights_in_place: returns a context in which the model has the weights with which it is used.
    """

    graph: ModelGraph
    pipeline: InputPipeline
    training_hooks: Sequence[AggregativeSessionRunHook]
    log_dir: Path | None
    collective: Collective
    signal: ReceivedSignal
    recorder: Recorder
    weights_in_place: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    _stack: contextlib.ExitStack = field(factory=contextlib.ExitStack, init=False)
    _runner: HookRunner | None = field(default=None, init=False)
    _steps: StepRunner | None = field(default=None, init=False)
    _writer: SummaryWriter | NoSummaryWriter | None = field(default=None, init=False)
    _seconds_per_step: float | None = field(default=None, init=False)
    _written: dict[str, tuple[int, Any]] = field(factory=dict, init=False)
    _latest: tuple[tuple[int, int], dict[str, Any]] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Refuse, before training, what could not be evaluated in its middle."""
        asking = [hook for hook in self.training_hooks if hook.run_inter_mode()]
        if not asking:
            tf.get_logger().warning(
                "inter_mode is EVAL, and nothing will be evaluated: model_fn returned no hook in mode TRAIN that asks "
                "for it, as mox.LogEvaluationMetricHook does."
            )
        for hook in asking:
            self._twin(hook)
        check_fed(self.graph, self._feeding_hooks())

    @contextlib.contextmanager
    def open(self) -> Iterator[InterMode]:
        """Return the inter mode for the block, and close its hooks and its summaries at the end."""
        with self._stack:
            self._stack.callback(self.pipeline.report.close)
            yield self

    def evaluate(self, hook: AggregativeSessionRunHook, max_steps: int, global_step: int) -> dict[str, Any]:
        """Return the means, weighted by samples, and the metrics in `monitor_info` of the hook's twin.

        Raises:
            RunInterrupted: if a worker is asked to end meanwhile: the hook learns nothing, and the run ends.
        """
        asked = (global_step, max_steps)
        if self._latest is None or self._latest[0] != asked:
            began = time.perf_counter()
            try:
                with self.weights_in_place():
                    self._latest = asked, self._means(max_steps, global_step)
            except RunInterrupted:
                words = (
                    "%s: the evaluation at global step %d is left unfinished, as the run was asked to end. The run "
                    "that goes on does not make up for it."
                )
                tf.get_logger().warning(words, type(hook).__name__, global_step)
                raise
            self.recorder.spend(global_step, "validation", time.perf_counter() - began)
        prefix = f"{self._twin(hook)}/"
        means = {name.removeprefix(prefix): mean for name, mean in self._latest[1].items() if name.startswith(prefix)}
        self._write(means, global_step)
        return means

    def note_best(self, global_step: int, checkpoint: str | None) -> None:
        """Note that the evaluation at a step was the best so far."""
        self.recorder.note_best(global_step, checkpoint)

    def _means(self, max_steps: int, global_step: int) -> dict[str, Any]:
        """Go through the input once, and return the means and metrics of all that is monitored."""
        samples = done = 0
        with (
            self.pipeline.open() as opened,
            self.graph.metrics.counting_anew(),
            self.graph.moved_back(),
            progress(f"validation at step {global_step}", total=max_steps, unit="batches", only_live=True) as line,
        ):
            steps, runner = self._begin(opened)
            over = done >= max_steps
            while not self._all_over(over=over):
                until = time.perf_counter() + _SECONDS_PER_CALL
                while not over and self.signal.name is None and time.perf_counter() < until:
                    outcome = self._call(runner, steps, done, max_steps, global_step)
                    done, samples = done + outcome.steps, samples + outcome.samples
                    line.show(done)
                    over = outcome.ended or done >= max_steps or runner.coordinator.should_stop()
            sums = steps.log_sums()
            samples, *totals = self.collective.all_gather([samples, *sums.values()]).sum(axis=0)
            check_seen(self.graph.mode, int(samples))
            runner.after_inter_mode(max(0, done - 1), global_step)
            means = {name: float(total) / samples for name, total in zip(sums, totals, strict=True)}
            return self.graph.metrics.with_values(means, self.collective)

    def _all_over(self, *, over: bool) -> bool:
        """Whether all workers have evaluated their share.

        Raises:
            RunInterrupted: if one of them was sent a signal.
        """
        ended, signalled = self.collective.all_gather([over, self.signal.name is not None]).T
        if signalled.any():
            raise RunInterrupted(self.signal.name)
        return bool(ended.all())

    def _call(self, runner: HookRunner, steps: StepRunner, done: int, max_steps: int, global_step: int) -> Outcome:
        """Run a step with the hooks that feed it, or as many steps as a call may have."""
        if runner.hooks:
            return runner.run(done, global_step, record=False)
        affordable = 1 if self._seconds_per_step is None else int(_SECONDS_PER_CALL / self._seconds_per_step)
        began = time.perf_counter()
        outcome = steps.run_loop(max(1, min(affordable, max_steps - done)))
        if done and outcome.steps:  # the first call also compiles, and waits for the input to come
            self._seconds_per_step = max((time.perf_counter() - began) / outcome.steps, 1e-6)
        return outcome

    def _begin(self, opened: OpenInput) -> tuple[StepRunner, HookRunner]:
        """Attach an opened input to the steps of an evaluation; the hooks begin with the first one."""
        if self._steps is None or self._runner is None:
            self._steps = StepRunner(self.graph, opened)
            self._runner = HookRunner(self._feeding_hooks() or self._watching_hooks(), self._steps)
            self._stack.enter_context(self._runner.running())
        self._steps.begin_anew(opened)
        self._runner.coordinator.stopped_by = None
        return self._steps, self._runner

    def _feeding_hooks(self) -> list[AggregativeSessionRunHook]:
        hooks = self.graph.spec.hooks if self.graph.placeholders() else ()
        return [hook for hook in hooks if not hook.run_inter_mode()]

    def _watching_hooks(self) -> list[AggregativeSessionRunHook]:
        return [hook for hook in self.graph.hooks if watches_inter_mode(hook)]

    def _write(self, means: dict[str, Any], step: int) -> None:
        """Write means where EVAL writes too: another run of TensorBoard, with the tags of the training."""
        last = {name: value for name, (written_at, value) in self._written.items() if written_at == step}
        both = means.keys() & last.keys()
        if others := sorted(name for name in both if not np.array_equal(means[name], last[name], equal_nan=True)):
            self.pipeline.report.warn_once("means", _OTHER_MEANS % (some(others), step))
        new = {name: mean for name, mean in means.items() if name not in last}
        if not new:
            return
        if self._writer is None:
            self._writer = self._stack.enter_context(open_writer(self.log_dir, training=False))
        self._writer.write(new, step)
        self.recorder.add(step, new, validation=True)
        self._written |= {name: (step, mean) for name, mean in new.items()}

    def _twin(self, hook: AggregativeSessionRunHook) -> int:
        """Return the number of the hook that `model_fn` made in the inter mode in place of one of the training."""
        same = [each for each in self.training_hooks if type(each) is type(hook)]
        nth = next(number for number, each in enumerate(same) if each is hook)
        twins = [number for number, each in enumerate(self.graph.spec.hooks) if type(each) is type(hook)]
        if nth >= len(twins):
            raise UsageError(
                f"model_fn returns {type(hook).__name__} in TRAIN and not in {self.graph.mode}: "
                "return it in both modes, its values come from the second."
            )
        return twins[nth]
