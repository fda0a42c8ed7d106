"""How a run ends: what is said, exported and saved, and what `mox.run` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import tensorflow as tf

from mox_core.engine.checkpoint.files import own_prefixes, step_of
from mox_core.engine.distribute.collectives import together
from mox_core.engine.interruption import RunInterrupted
from mox_core.engine.loop.reports import check_seen, report_evaluation, report_stop
from mox_core.modes import ModeKeys
from mox_core.run_result import RunResult
from mox_core.terminal.progress import progress

if TYPE_CHECKING:
    from mox_core.arguments import RunConfig
    from mox_core.engine.checkpoint.saver import NoSaver, Saver
    from mox_core.engine.export import Export, NoExport
    from mox_core.engine.loop.loop import LoopResult
    from mox_core.engine.loop.signals import ReceivedSignal
    from mox_core.engine.loop.stop import StopRule
    from mox_core.engine.loop.summaries import NoSummaryWriter, SummaryWriter
    from mox_core.engine.variables.run_state import RunState
    from mox_core.run_history import Recorder

_EXPORT_ENDS: Final = "the export is given up, what was trained is saved. A second one ends the process at once."


def not_begun(config: RunConfig, signal: str) -> RunResult:
    """Return how a run ended that a signal has ended in its start: its checkpoints are as they were."""
    tf.get_logger().info("The run ends before its first step: %s asked for it.", signal)
    prefixes = own_prefixes(config.log_dir) if config.log_dir else []
    return RunResult(
        global_step=step_of(prefixes[-1]) if prefixes else 0,
        steps=0,
        samples=0,
        stopped_by=signal,
        metrics={},
        checkpoint=prefixes[-1] if prefixes else None,
        export_path=None,
        skipped_steps=0,
    )


def report(config: RunConfig, result: LoopResult, state: RunState, writer: SummaryWriter | NoSummaryWriter) -> None:
    """Log how the run ended, and write the means of EVAL where TensorBoard finds them."""
    global_step = int(state.step)
    if config.training:
        report_stop(result, global_step, state.skipped_steps())
        return
    if result.stopped_by == "end of input":
        check_seen(config.run_mode, result.samples)
    report_evaluation(result)
    if config.run_mode == ModeKeys.EVAL and not result.interrupted:
        writer.write(result.means, global_step)


def _write_exports(export: Export | NoExport, signal: ReceivedSignal) -> dict[str, str]:
    try:
        with progress("export", total=None, unit="", only_live=True):
            return export.write(signal.abandoning(_EXPORT_ENDS, patient=True))
    except RunInterrupted:
        return {}


def finish(
    config: RunConfig,
    result: LoopResult,
    stop_rule: StopRule,
    state: RunState,
    saver: Saver | NoSaver,
    export: Export | NoExport,
    recorder: Recorder,
) -> RunResult:
    """Export and save, and return how the run ended."""
    collective = state.replicator.collective
    # A run that was asked to end is not over: it goes on from its checkpoint, and exports when it gets to its end.
    interrupted = result.interrupted or stop_rule.interrupted
    if config.training:
        # Also where nothing is saved, and before the export.
        together(collective, lambda: state.check_finite(state.saved_values()))
    with state.final_weights_in_place():
        paths = {} if interrupted or collective.rank else _write_exports(export, stop_rule.signal)
    # Broadcast the paths: only the chief writes, and every worker returns after the files exist.
    checkpoint, paths = collective.broadcast_object([saver.save(), paths])
    if not stop_rule.interrupted:
        state.assign_final_weights()
    return RunResult(
        global_step=int(state.step),
        steps=result.steps,
        samples=result.samples,
        stopped_by=stop_rule.signal.name or result.stopped_by,
        metrics=result.last if config.training else result.means,
        checkpoint=checkpoint,
        export_path=next(iter(paths.values()), None),
        export_paths=paths,
        skipped_steps=state.skipped_steps() if config.training else 0,
        history=recorder.history(),
        validation=recorder.validation(),
        best=recorder.best(),
    )
