"""`tf.estimator.train_and_evaluate`, and the exporters that it calls."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from mox_core.errors import UsageError
from mox_core.sdk import input_from_the_start
from mox_tf1.estimator.hooks import StopForEvaluation
from mox_tf1.estimator.specs import SAVE_SECS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mox_core.run_result import RunResult
    from mox_tf1.estimator.estimator import Estimator

_BEST: Final = "best_eval_result.json"


def _to_tuple(values: Any) -> tuple[Any, ...]:
    if values is None:
        return ()
    return tuple(values) if isinstance(values, (list, tuple)) else (values,)


@frozen
class TrainSpec:
    """What `train_and_evaluate` trains on.

    Attributes:
        input_fn: as in `Estimator.train`.
        max_steps: the global step at which the training ends; None for the end of the input.
        hooks: session hooks.
    """

    input_fn: Callable[..., Any]
    max_steps: int | None = None
    hooks: tuple[Any, ...] = field(default=(), converter=_to_tuple)


@frozen
class EvalSpec:
    """What `train_and_evaluate` evaluates on.

    Attributes:
        input_fn: as in `Estimator.evaluate`.
        steps: how many batches at most; None for all.
        name: as in `Estimator.evaluate`.
        hooks: session hooks.
        exporters: what is called after each evaluation.
        start_delay_secs: taken, and without effect: where one process does both, TensorFlow 1 did not wait either.
        throttle_secs: seconds that lie between two evaluations at least.
    """

    input_fn: Callable[..., Any]
    steps: int | None = 100
    name: str | None = None
    hooks: tuple[Any, ...] = field(default=(), converter=_to_tuple)
    exporters: tuple[Any, ...] = field(default=(), converter=_to_tuple)
    start_delay_secs: float = 120
    throttle_secs: float = 600


class _Exporter:
    """What exports a model after an evaluation, into `<model_dir>/export/<name>`.

    Args:
        name: the name of the folder.
        serving_input_receiver_fn: returns what the exported model is fed.
        assets_extra: refused.
        as_text: refused.
        exports_to_keep: how many stay; None for all.
    """

    def __init__(
        self,
        name: str,
        serving_input_receiver_fn: Callable[[], Any],
        assets_extra: None = None,
        as_text: bool = False,  # noqa: FBT001, FBT002 (the signature of TensorFlow 1)
        exports_to_keep: int | None = 5,
    ) -> None:
        self.name = name
        self._receiver_fn = serving_input_receiver_fn
        self._options: dict[str, Any] = {"assets_extra": assets_extra, "as_text": as_text}
        self._keep = exports_to_keep
        if exports_to_keep is not None and exports_to_keep <= 0:
            raise UsageError(f"exports_to_keep of {name!r} is {exports_to_keep!r}; it is 1 or more, or None for all.")

    def export(
        self,
        estimator: Estimator,
        export_path: str,
        checkpoint_path: str,
        eval_result: dict[str, Any],
        is_the_final_export: bool,  # noqa: FBT001 (as above)
    ) -> bytes | None:
        """Export, where this is the time for it, and return the folder; None where it is not."""
        del eval_result, is_the_final_export
        path: bytes = estimator.export_saved_model(
            export_path, self._receiver_fn, checkpoint_path=checkpoint_path, **self._options
        )
        folders = sorted((each for each in Path(export_path).iterdir() if each.name.isdecimal()), key=_number)
        for folder in folders[: -self._keep] if self._keep else []:
            shutil.rmtree(folder, ignore_errors=True)
        return path


def _number(folder: Path) -> int:
    return int(folder.name)


class LatestExporter(_Exporter):
    """Exports after each evaluation, and keeps the last few."""


class FinalExporter(_Exporter):
    """Exports once, at the end."""

    def __init__(
        self,
        name: str,
        serving_input_receiver_fn: Callable[[], Any],
        assets_extra: None = None,
        as_text: bool = False,  # noqa: FBT001, FBT002 (as above)
    ) -> None:
        super().__init__(name, serving_input_receiver_fn, assets_extra, as_text, exports_to_keep=None)

    def export(
        self,
        estimator: Estimator,
        export_path: str,
        checkpoint_path: str,
        eval_result: dict[str, Any],
        is_the_final_export: bool,  # noqa: FBT001 (as above)
    ) -> bytes | None:
        """Export, if this is the end."""
        if not is_the_final_export:
            return None
        return super().export(estimator, export_path, checkpoint_path, eval_result, is_the_final_export)


def _plain(value: Any) -> Any:
    """Return an array, or a number of NumPy, as JSON has it."""
    return value.tolist()


def _loss_smaller(best_eval_result: dict[str, Any], current_eval_result: dict[str, Any]) -> bool:
    if "loss" not in best_eval_result or "loss" not in current_eval_result:
        raise UsageError("an evaluation has no loss: pass compare_fn to BestExporter.")
    return bool(best_eval_result["loss"] > current_eval_result["loss"])


class BestExporter(_Exporter):
    """Exports after each evaluation that is better than all before it.

    Args:
        name: the name of the folder.
        serving_input_receiver_fn: returns what the exported model is fed.
        event_file_pattern: without effect: the best result is kept beside the exported models.
        compare_fn: whether the second of two results is better than the first; a smaller loss, if not given.
        assets_extra: refused.
        as_text: refused.
        exports_to_keep: how many stay; None for all.
    """

    def __init__(
        self,
        name: str = "best_exporter",
        serving_input_receiver_fn: Callable[[], Any] | None = None,
        event_file_pattern: str = "eval/*.tfevents.*",
        compare_fn: Callable[..., Any] = _loss_smaller,
        assets_extra: None = None,
        as_text: bool = False,  # noqa: FBT001, FBT002 (as above)
        exports_to_keep: int | None = 5,
    ) -> None:
        del event_file_pattern
        if serving_input_receiver_fn is None:
            raise UsageError(f"BestExporter {name!r} has no serving_input_receiver_fn.")
        super().__init__(name, serving_input_receiver_fn, assets_extra, as_text, exports_to_keep)
        self._compare = compare_fn

    def export(
        self,
        estimator: Estimator,
        export_path: str,
        checkpoint_path: str,
        eval_result: dict[str, Any],
        is_the_final_export: bool,  # noqa: FBT001 (as above)
    ) -> bytes | None:
        """Export, if this result is the best."""
        kept = Path(export_path) / _BEST
        best = json.loads(kept.read_text("utf-8")) if kept.exists() else None
        if best is not None and not self._compare(best_eval_result=best, current_eval_result=eval_result):
            return None
        path = super().export(estimator, export_path, checkpoint_path, eval_result, is_the_final_export)
        kept.write_text(json.dumps(eval_result, default=_plain), "utf-8")
        return path


def train_and_evaluate(
    estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec
) -> tuple[dict[str, Any] | None, list[Any]]:
    """Train, and evaluate after checkpoints and at the end, in one process.

    The training goes on over evaluations: its input is not begun anew. An evaluation takes place after each checkpoint,
    if `throttle_secs` have passed since the last one, and at the end.

    Args:
        estimator: the estimator.
        train_spec: what it is trained on.
        eval_spec: what it is evaluated on.

    Returns:
        The last evaluation, and what the exporters returned after it; None and nothing where there was no training.
    """
    for each, kind in ((train_spec, TrainSpec), (eval_spec, EvalSpec)):
        if not isinstance(each, kind):
            raise UsageError(f"train_and_evaluate was given {each!r}; it takes a TrainSpec, then an EvalSpec.")
    found: tuple[dict[str, Any] | None, list[Any]] = (None, [])
    with input_from_the_start():
        result = _train(estimator, train_spec, eval_spec)
    while result is not None and not result.stopped_by.startswith("SIG"):
        goes_on = result.stopped_by == StopForEvaluation.__name__
        final = not goes_on or result.global_step == train_spec.max_steps
        found = _evaluate(estimator, eval_spec, final=final)
        result = None if final else _train(estimator, train_spec, eval_spec)
    return found


def _train(estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec) -> RunResult | None:
    """Train until an evaluation is due, or to the end."""
    steps, secs = estimator.config.save_checkpoints_steps, estimator.config.save_checkpoints_secs
    wait = eval_spec.throttle_secs if steps else max(eval_spec.throttle_secs, secs or SAVE_SECS)
    until = time.monotonic() + wait
    return estimator.train_on(
        train_spec.input_fn,
        train_spec.hooks,
        max_steps=train_spec.max_steps,
        hook_from=lambda step: StopForEvaluation(step, steps, until),
    )


def _evaluate(estimator: Estimator, spec: EvalSpec, *, final: bool) -> tuple[dict[str, Any], list[Any]]:
    result = estimator.evaluate(spec.input_fn, spec.steps, spec.hooks, name=spec.name)
    exports = []
    for exporter in spec.exporters:
        path = os.path.join(estimator.model_dir, "export", exporter.name)  # noqa: PTH118 (model_dir is a str)
        exports.append(
            exporter.export(
                estimator=estimator,
                export_path=path,
                checkpoint_path=estimator.latest_checkpoint(),
                eval_result=result,
                is_the_final_export=final,
            )
        )
    return result, exports
