"""What `mox.run` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from mox_core.run_history import Best, History

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen(kw_only=True)
class RunResult:
    """How a run ended.

    Attributes:
        global_step: the global step of the weights at the end.
        steps: how many steps this run did.
        samples: how many samples they saw.
        stopped_by: 'max_number_of_steps', 'end of input', or the class of the hook or the name of the signal that
            asked.
        metrics: TRAIN: `log_info` of the last step. EVAL and PREDICT: its means, weighted by samples.
        checkpoint: the prefix of the checkpoint that holds the weights; None where there is none.
        export_path: the folder of the exported model, of several the first one; None without export_model, or where a
            signal ended the run.
        skipped_steps: with the flag `loss_scale`, how many steps of the whole training were skipped because a gradient
            was not finite.
        export_paths: the folder of each exported model by its format; that of a function, by the function's name.
        history: what was logged, from the first run of a training on.
        validation: the values of the last validation.
        best: the best validation, as a hook that stops trainings saw it; None without one.
    """

    global_step: int
    steps: int
    samples: int
    stopped_by: str
    metrics: dict[str, float]
    checkpoint: str | None
    export_path: str | None
    skipped_steps: int
    export_paths: Mapping[str, str] = field(factory=dict)
    history: History = field(factory=History)
    validation: dict[str, Any] = field(factory=dict)
    best: Best | None = None
