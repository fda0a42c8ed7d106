"""The inter mode: evaluation between two steps of training, with the weights of the training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from mox_core.engine.steps import Steps
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_core.engine.inputs import InputPipeline
    from mox_core.engine.modelgraph import ModelGraph
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
    """Runs the inter mode when a hook of the training asks for it.

    Attributes:
        graph: the graph of the inter mode, built to watch what `monitored` gives.
        pipeline: its input; every evaluation starts at its beginning.
    """

    graph: ModelGraph
    pipeline: InputPipeline
    training_hooks: Sequence[AggregativeSessionRunHook]
    _steps: Steps | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Refuse, before training, what could not be evaluated in its middle."""
        for hook in self.training_hooks:
            if hook.run_inter_mode():
                self._twin(hook)
        if names := list(self.graph.placeholders()):
            msg = (
                f"model_fn makes the placeholders {', '.join(map(repr, names))} in {self.graph.mode}, and nothing "
                "feeds placeholders in the inter mode: make them in TRAIN only."
            )
            raise UsageError(msg)

    def evaluate(self, hook: AggregativeSessionRunHook, max_steps: int) -> dict[str, float]:
        """Returns the means, weighted by samples, of the `monitor_info` of the hook's twin."""
        number = self._twin(hook)
        samples, sums = 0, dict.fromkeys(self.graph.watched, 0.0)
        with self.pipeline.open() as opened:
            if self._steps is None:
                self._steps = Steps(self.graph, opened)
            self._steps.input = opened
            done, ended = 0, False
            while done < max_steps and not ended:
                outcome = self._steps.many(min(_STEPS_A_CALL, max_steps - done))
                done, ended, samples = done + outcome.steps, outcome.ended, samples + outcome.samples
                sums = {name: total + outcome.sums.get(name, 0.0) for name, total in sums.items()}
        prefix = f"{number}/"
        return {
            name.removeprefix(prefix): total / max(samples, 1)
            for name, total in sums.items()
            if name.startswith(prefix)
        }

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
