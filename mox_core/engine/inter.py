"""The inter mode: evaluation between two steps of training, with the weights of the training."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from attrs import define, field

from mox_core.engine import summaries
from mox_core.engine.hooks import HookRunner, check_fed
from mox_core.engine.steps import Steps
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import tensorflow as tf

    from mox_core.engine.inputs import InputPipeline, OpenInput
    from mox_core.engine.modelgraph import ModelGraph
    from mox_core.engine.workers import Peers
    from mox_core.session_hooks import AggregativeSessionRunHook
    from mox_core.specs import ModelSpec

# Steps in one compiled call: a call cannot be interrupted.
_STEPS_A_CALL = 50


def monitored(spec: ModelSpec) -> dict[str, Any]:
    """Returns what the hooks of the inter mode want averaged: `<number of the hook>/<name>` to tensor."""
    return {
        f"{number}/{name}": tensor
        for number, hook in enumerate(spec.hooks)
        if hook.run_inter_mode()
        for name, tensor in (getattr(hook, "monitor_info", None) or {}).items()
    }


@define
class InterMode:
    """Runs the inter mode when a hook of the training asks for it; a context for as long as the training lasts.

    Where its graph has placeholders, the hooks of that graph feed them: those that do not run the inter mode.

    Attributes:
        graph: the graph of the inter mode, built to watch what `monitored` gives.
        pipeline: its input; every evaluation starts at its beginning.
        training_hooks: the hooks of TRAIN, of which some ask.
        log_dir: means are written as summaries beside those of the training, None for nowhere.
        peers: the workers, of which each evaluates its share of the input.
    """

    graph: ModelGraph
    pipeline: InputPipeline
    training_hooks: Sequence[AggregativeSessionRunHook]
    log_dir: Path | None
    peers: Peers
    _stack: contextlib.ExitStack = field(factory=contextlib.ExitStack, init=False)
    _runner: HookRunner | None = field(default=None, init=False)
    _steps: Steps | None = field(default=None, init=False)
    _writer: tf.summary.SummaryWriter | None = field(default=None, init=False)
    _written: dict[str, int] = field(factory=dict, init=False)
    _latest: tuple[tuple[int, int], dict[str, float]] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Refuse, before training, what could not be evaluated in its middle."""
        for hook in self.training_hooks:
            if hook.run_inter_mode():
                self._twin(hook)
        check_fed(self.graph, self._feeding())

    def __enter__(self) -> None:
        self._stack.callback(self.pipeline.report.close)

    def __exit__(self, *error: Any) -> None:  # noqa: PYI036  (as ExitStack takes it)
        self._stack.__exit__(*error)

    def evaluate(self, hook: AggregativeSessionRunHook, max_steps: int, global_step: int) -> dict[str, float]:
        """Returns the means, weighted by samples, of the `monitor_info` of the hook's twin."""
        asked = (global_step, max_steps)
        if self._latest is None or self._latest[0] != asked:
            self._latest = asked, self._means(max_steps, global_step)
        prefix = f"{self._twin(hook)}/"
        means = {name.removeprefix(prefix): mean for name, mean in self._latest[1].items() if name.startswith(prefix)}
        self._write(means, global_step)
        return means

    def _means(self, max_steps: int, global_step: int) -> dict[str, float]:
        """Goes through the input once, and returns the means of all that is monitored."""
        samples, sums = 0, dict.fromkeys(self.graph.watched, 0.0)
        with self.pipeline.open() as opened:
            steps, runner = self._begun(opened)
            done, ended = 0, False
            while done < max_steps and not ended:
                if runner.hooks:
                    outcome = runner.run(done, global_step, record=False)
                else:
                    outcome = steps.many(min(_STEPS_A_CALL, max_steps - done))
                done, samples = done + outcome.steps, samples + outcome.samples
                ended = outcome.ended or runner.coordinator.should_stop()
                sums = {name: total + outcome.sums.get(name, 0.0) for name, total in sums.items()}
        samples, *totals = self.peers.gather([samples, *sums.values()]).sum(axis=0)
        return {name: float(total) / max(samples, 1) for name, total in zip(sums, totals, strict=True)}

    def _begun(self, opened: OpenInput) -> tuple[Steps, HookRunner]:
        """Gives the steps of an evaluation their input; its hooks begin with the first one."""
        if self._steps is None or self._runner is None:
            self._steps = Steps(self.graph, opened)
            self._runner = HookRunner(self._feeding(), self._steps)
            self._stack.enter_context(self._runner.running())
        self._steps.input = opened
        self._runner.coordinator.stopped_by = None
        return self._steps, self._runner

    def _feeding(self) -> list[AggregativeSessionRunHook]:
        return (
            [hook for hook in self.graph.spec.hooks if not hook.run_inter_mode()] if self.graph.placeholders() else []
        )

    def _write(self, means: dict[str, float], step: int) -> None:
        """Writes means where EVAL writes too: a run of its own in TensorBoard, with the tags of the training."""
        new = {name: mean for name, mean in means.items() if self._written.get(name) != step}
        if self.log_dir is None or not new:
            return
        if self._writer is None:
            self._writer = self._stack.enter_context(summaries.open_writer(self.log_dir, training=False))
        summaries.write_scalars(self._writer, new, step)
        self._writer.flush()
        self._written |= dict.fromkeys(new, step)

    def _twin(self, hook: AggregativeSessionRunHook) -> int:
        """Returns the number of the hook that `model_fn` made in the inter mode in the place of one of the training."""
        same = [each for each in self.training_hooks if type(each) is type(hook)]
        nth = next(number for number, each in enumerate(same) if each is hook)
        twins = [number for number, each in enumerate(self.graph.spec.hooks) if type(each) is type(hook)]
        if nth >= len(twins):
            msg = (
                f"model_fn returns {type(hook).__name__} in TRAIN and not in {self.graph.mode}: "
                "return it in both modes, its values come from the second."
            )
            raise UsageError(msg)
        return twins[nth]
