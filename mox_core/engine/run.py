"""The sequence of a run, to be read from top to bottom, and its decisions.

Input, model with optimizer, checkpoint, loop with its observers, export: each is a package beside this module.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Final, cast

from mox_core.engine.checkpoint.best_weights import keep_best
from mox_core.engine.checkpoint.resume import Start, find_start
from mox_core.engine.checkpoint.saver import NoSaver, Saver
from mox_core.engine.distribute.collectives import together
from mox_core.engine.distribute.connection import connect_workers
from mox_core.engine.distribute.mirrored import replicate, split_cpu
from mox_core.engine.distribute.replicator import OneDevice, Replicator
from mox_core.engine.ending import finish, not_begun, report
from mox_core.engine.export import Export, NoExport, export_inputs
from mox_core.engine.hooks.hook_runner import HookRunner, check_fed
from mox_core.engine.hooks.session import Evaluation, NoEvaluation
from mox_core.engine.input import class_lists
from mox_core.engine.input.batching import Batching
from mox_core.engine.input.order import Order
from mox_core.engine.input.pipeline import InputPipeline, build_pipeline
from mox_core.engine.interruption import RunInterrupted
from mox_core.engine.loop.inter_mode import InterMode, monitored_tensors
from mox_core.engine.loop.loop import Loop
from mox_core.engine.loop.observers import LogLines, Observer, OutputWindows, SaveEverySeconds, SaveEverySteps
from mox_core.engine.loop.reports import check_trained, report_nothing_to_train
from mox_core.engine.loop.schedule import EverySteps
from mox_core.engine.loop.signals import RUN_ENDS, RUN_ENDS_UNSAVED, RUN_ENDS_WITHOUT_TRAINING, catch_signals
from mox_core.engine.loop.stop import StopRule
from mox_core.engine.loop.summaries import NoSummaryWriter, SummaryWriter, open_writer
from mox_core.engine.model.spec_checks import warn_of_no_outputs
from mox_core.engine.model.step_runner import StepRunner
from mox_core.engine.model.tracing import trace_model
from mox_core.engine.optimizer.train_step import TrainStep
from mox_core.engine.parameter_server.async_loop import AsyncLoop
from mox_core.engine.parameter_server.remote_input import check_remote_input
from mox_core.engine.parameter_server.remote_workers import RemoteWorkers
from mox_core.engine.parameter_server.replicator import connect_parameter_servers
from mox_core.engine.parameter_server.step_ledger import StepLedger
from mox_core.engine.run_facts import facts_of
from mox_core.engine.run_folder import run_folder_scope, writing_into
from mox_core.engine.tf_patches.run_scope import run_scope
from mox_core.engine.threads import set_threads
from mox_core.engine.tracking import tracked
from mox_core.engine.variables.run_state import RunState
from mox_core.errors import UsageError
from mox_core.log_dir import NOTHING_REMOTE, Held
from mox_core.modes import ModeKeys
from mox_core.run_history import FILE as HISTORY
from mox_core.run_history import Recorder
from mox_core.run_notes import FILE as NOTES
from mox_core.run_notes import RunNotes
from mox_core.terminal.progress import plain_lines, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mox_core.arguments import RunConfig
    from mox_core.engine.input.image_cut import ClassList, ToldClasses
    from mox_core.engine.input.pipeline import OpenInput
    from mox_core.engine.loop.signals import ReceivedSignal
    from mox_core.engine.model.model_graph import ModelGraph
    from mox_core.engine.parameter_server.replicator import ParameterServers
    from mox_core.run_result import RunResult
    from mox_core.session_hooks import AggregativeSessionRunHook
    from mox_core.terminal.parts import Progress


_START_ENDS: Final = "the run ends before its first step. A second one ends the process at once."


def run(config: RunConfig, held: Held) -> RunResult:
    """Train, evaluate or predict as a configuration says, and export.

    Args:
        config: the configuration.
        held: what keeps other runs from its log_dir, and what of it is on a store.
    """
    set_threads(config.num_inter_threads, config.num_intra_threads)
    with (
        run_scope(),
        plain_lines(config.plain),
        writing_into(config.log_dir),
        catch_signals(_ends_by_signal(config)) as signal,
        progress(config.run_mode, total=config.max_number_of_steps or None, unit="steps", only_live=True) as line,
        held.uploading(),
    ):
        try:
            return _run(config, held, signal, line)
        except RunInterrupted:
            return not_begun(config, str(signal.name))


def _ends_by_signal(config: RunConfig) -> str:
    if not config.training:
        return RUN_ENDS_WITHOUT_TRAINING
    return RUN_ENDS_UNSAVED if config.log_dir is None else RUN_ENDS


def _run(config: RunConfig, held: Held, signal: ReceivedSignal, line: Progress) -> RunResult:
    with contextlib.ExitStack() as stack:
        with signal.abandoning(_START_ENDS, patient=False):
            stack.enter_context(run_folder_scope(config.log_dir))
            replicator = stack.enter_context(_replicator(config))
            log_dir = config.log_dir if replicator.collective.rank == 0 else None  # the chief alone writes
            start = find_start(config, replicator.collective, held.remote)

            order = Order(seed=start.seed, workers=replicator.num_readers, worker=replicator.reader)
            blocks = start.input_blocks if config.training else None
            pipeline = _pipeline(config, config.run_mode, order, replicator, blocks=blocks)
            stack.callback(pipeline.report.close)
            classes = _classes(config, pipeline, start, replicator)
            state = RunState(
                start.seed,
                pipeline.num_positions,
                replicator,
                input_blocks=pipeline.block_sizes,
                input_sizes=pipeline.sizes,
                classes=class_lists.to_text(classes),
            )
            writer = stack.enter_context(open_writer(log_dir, training=config.training))
            training_dir = log_dir if config.training else None
            recorder = Recorder(config.run_mode, training_dir and training_dir / HISTORY)
            notes = stack.enter_context(RunNotes(training_dir and training_dir / NOTES, held.lock.is_in_place).noting())
            graph = _trace(config, pipeline, state, writer)
            evaluation = stack.enter_context(_evaluation(config, pipeline, graph, state, log_dir, signal, recorder))
            told = class_lists.exported(pipeline, classes, training=config.training)
            export = _export(config, pipeline, evaluation.pipeline or pipeline, told, state)
            _check_input(config, pipeline, graph)

            start.restore(config, state, graph.networks)
            state.begin_training()
            first_step = int(state.step)
            recorder.go_on_from(first_step)
            notes.begin(first_step, lambda: facts_of(config))
            end = stack.enter_context(tracked(config, recorder, first_step=first_step, resumed=start.resumed))
            saver = stack.enter_context(_saver(config, log_dir, state, start, held, recorder))
            together(replicator.collective, saver.save)
            best = stack.enter_context(keep_best(config, log_dir, saver, state, held))

        first_positions = state.own_positions()
        opened = stack.enter_context(pipeline.open(first_positions, state.own_positions if config.training else None))
        max_steps = _max_steps(config, first_step, start)
        steps, make_loop = _make_steps(config, graph, pipeline, order, opened, state, max_steps, signal)
        hooks = HookRunner(_hooks_of(config, graph), steps, evaluation, best)
        stop_rule = StopRule(signal=signal, coordinator=hooks.coordinator, max_steps=max_steps)
        result = make_loop(
            steps=steps,
            hooks=hooks,
            observers=[
                _log_lines(config, pipeline, order, recorder, line),
                *_observers(config, graph, writer, saver, first_step),
            ],
            stop_rule=stop_rule,
            first_global_step=first_step,
        ).run()
        signal.steps_are_over("" if held.remote is NOTHING_REMOTE else "what was saved is being uploaded")
        if config.training and not (start.resumed and first_step):
            check_trained(result, pipeline, first_positions, order.workers)
        report(config, result, state, writer)
        ended = finish(config, result, stop_rule, state, saver, export, recorder)
        notes.end(ended.global_step, ended.stopped_by)
        held.remote.publish()
        end.say(ended, interrupted=result.interrupted or stop_rule.interrupted)
        return ended


@contextlib.contextmanager
def _replicator(config: RunConfig) -> Iterator[Replicator]:
    """Connect the processes of the job for the block, and decide where the replicas of the model are."""
    if config.replicas_on_cpu:
        split_cpu(config.num_replicas)
    with (
        connect_parameter_servers(config) as servers,
        connect_workers(config.cluster, config.session_timeout) as collective,
    ):
        yield servers or replicate(config.num_replicas, collective, on_cpu=config.replicas_on_cpu)


def _pipeline(
    config: RunConfig,
    mode: str,
    order: Order,
    replicator: Replicator,
    *,
    beside: InputPipeline | None = None,
    blocks: Sequence[int] | None = None,
) -> InputPipeline:
    """Call `input_fn` in a mode."""
    batching = Batching(batch_size=config.batch_size, auto=config.auto_batch)
    replicas = len(replicator.devices)
    return build_pipeline(config.input_fn, mode, batching, order=order, replicas=replicas, beside=beside, blocks=blocks)


def _classes(config: RunConfig, pipeline: InputPipeline, start: Start, replicator: Replicator) -> Sequence[ClassList]:
    """Return which classes the labels of the run stand for, and refuse others than its weights have learned."""
    class_lists.check_workers(pipeline, replicator.collective)
    if start.prefix is None or (config.training and not start.resumed):
        return pipeline.class_lists
    return class_lists.going_on(class_lists.from_text(start.classes), pipeline, start.prefix)


def _trace(
    config: RunConfig, pipeline: InputPipeline, state: RunState, writer: SummaryWriter | NoSummaryWriter
) -> ModelGraph:
    """Call `model_fn` in the mode of the run, with the optimizers where it trains."""
    graph = trace_model(
        config.model_fn,
        config.run_mode,
        state,
        pipeline.fed,
        structure=pipeline.structure,
        first_log=config.log_first_clone,
        train_step=TrainStep(config.optimizer_fns, state, config.gradients) if config.training else None,
        outputs=config.output_fn is not None,
        summary_scope=writer.scope,
    )
    check_fed(graph, _hooks_of(config, graph))
    if config.output_fn is not None:
        warn_of_no_outputs(graph.spec, config.run_mode)
    return graph


@contextlib.contextmanager
def _evaluation(
    config: RunConfig,
    trained: InputPipeline,
    graph: ModelGraph,
    state: RunState,
    log_dir: Path | None,
    signal: ReceivedSignal,
    recorder: Recorder,
) -> Iterator[Evaluation]:
    """Build input and graph of the inter mode, and refuse hooks that want one where there is none."""
    if config.inter_mode is None:
        asking = [type(hook).__name__ for hook in graph.hooks if hook.run_inter_mode()]
        if config.training and asking:
            raise UsageError(
                f"{asking[0]} runs the inter mode, and there is none: pass inter_mode=mox.ModeKeys.EVAL to mox.run."
            )
        yield NoEvaluation()
        return
    if config.has_parameter_servers and state.final_weights.differ:
        raise UsageError(
            "an optimizer with use_ema=True, --ps_hosts and inter_mode: an evaluation has the averages in the place of "
            "the weights, and the other workers would train them meanwhile. Leave inter_mode out and evaluate the "
            "checkpoints in a process of its own, or leave --sync_replicas=False out."
        )
    collective = state.replicator.collective
    order = Order(seed=state.seed, workers=collective.world_size, worker=collective.rank)
    pipeline = _pipeline(config, config.inter_mode, order, state.replicator, beside=trained)
    class_lists.check_evaluated(trained, pipeline)
    twin = trace_model(
        config.model_fn,
        config.inter_mode,
        state,
        pipeline.fed,
        structure=pipeline.structure,
        log_values=monitored_tensors,
        num_positions=pipeline.num_positions,
    )
    in_place = state.final_weights_in_place
    with InterMode(twin, pipeline, graph.hooks, log_dir, collective, signal, recorder, in_place).open() as inter_mode:
        yield inter_mode


def _export(
    config: RunConfig, pipeline: InputPipeline, evaluated: InputPipeline, told: ToldClasses, state: RunState
) -> Export | NoExport:
    """Build what is exported, before training: what cannot be exported is known before it."""
    if not config.exports_as or config.log_dir is None:
        return NoExport()
    structure = export_inputs(pipeline)
    graph = trace_model(
        config.model_fn, ModeKeys.EXPORT, state, structure.specs, structure=structure, replicator=OneDevice()
    )
    return Export(
        graph=graph,
        formats=config.exports_as,
        log_dir=config.log_dir,
        input_names=structure.names(),
        pipeline=evaluated,
        told=told,
    )


def _check_input(config: RunConfig, pipeline: InputPipeline, graph: ModelGraph) -> None:
    """Refuse a run that nothing would end, workers that might not end together, and what other workers cannot run."""
    cluster = config.cluster if config.training else None
    if config.has_parameter_servers:
        check_remote_input(pipeline, graph)
    elif cluster and cluster.several and not (cluster.synchronous or pipeline.endless):
        raise UsageError(
            "--sync_replicas=False without --ps_hosts: workers on their own meet only where their optimizer wrapper "
            "says so, and one whose input ends would leave the others waiting. Let the input of TRAIN go on "
            "(num_epochs=None, dataset.repeat()), and pass max_number_of_steps."
        )
    if config.max_number_of_steps or not pipeline.endless or graph.hooks:
        return
    raise UsageError(
        f"max_number_of_steps is 0 and the input of {config.run_mode} never ends: nothing would end the run. "
        "Pass max_number_of_steps, or num_epochs to the data set."
    )


@contextlib.contextmanager
def _saver(
    config: RunConfig, log_dir: Path | None, state: RunState, start: Start, held: Held, recorder: Recorder
) -> Iterator[Saver | NoSaver]:
    """Save the checkpoints of a training in log_dir; at the end of the block, none is half written."""
    if not config.training or log_dir is None:
        yield NoSaver(start.prefix)
        return
    last_step = int(state.step) if start.resumed else None
    saver = Saver(log_dir, state, config.max_to_keep, held, recorder, last_step=last_step)
    with saver.writing():
        yield saver


def _max_steps(config: RunConfig, first_step: int, start: Start) -> int | None:
    """Return how many steps this run may do, None for any number."""
    if not config.max_number_of_steps:
        return None
    if not config.training:
        return config.max_number_of_steps
    if first_step >= config.max_number_of_steps:
        folder = config.log_dir if start.resumed else start.prefix
        report_nothing_to_train(first_step, config.max_number_of_steps, folder, resumed=start.resumed)
    return max(0, config.max_number_of_steps - first_step)


def _hooks_of(config: RunConfig, graph: ModelGraph) -> Sequence[AggregativeSessionRunHook]:
    """Return the hooks of the graph; those that run the inter mode have nothing to do where there is no training."""
    return [hook for hook in graph.hooks if config.training or not hook.run_inter_mode()]


def _log_lines(
    config: RunConfig, pipeline: InputPipeline, order: Order, recorder: Recorder, line: Progress
) -> LogLines:
    # TRAIN logs the steps 0, n, 2n; other modes each n-th step.
    steps = EverySteps(config.log_every_n_steps, offset=0 if config.training else 1)
    size = pipeline.samples_per_epoch
    return LogLines(steps, config.training, recorder, line, None if size is None else -(-size // order.workers))


def _observers(
    config: RunConfig,
    graph: ModelGraph,
    writer: SummaryWriter | NoSummaryWriter,
    saver: Saver | NoSaver,
    first_step: int,
) -> list[Observer]:
    """Return what is done after steps behind the log, in this order: summaries, outputs, checkpoint."""
    observers: list[Observer] = []
    if config.training:
        observers += writer.observers(config.save_summary_steps, records=graph.has_summaries)
    if config.output_fn is not None:
        observers.append(OutputWindows(config.output_fn, config.output_every_n_steps, config.training))
    if isinstance(saver, NoSaver):
        return observers
    if config.save_model_steps is None:
        return [*observers, SaveEverySeconds(saver, config.save_model_secs)]
    # After steps at whose end the global step is a multiple of n.
    return [*observers, SaveEverySteps(saver, EverySteps(config.save_model_steps, offset=first_step + 1))]


def _make_steps(
    config: RunConfig,
    graph: ModelGraph,
    pipeline: InputPipeline,
    order: Order,
    opened: OpenInput,
    state: RunState,
    max_steps: int | None,
    signal: ReceivedSignal,
) -> tuple[StepRunner, Callable[..., Loop | AsyncLoop]]:
    """Return what runs steps, and the loop around it: of workers that step together, or beside parameter servers."""
    if not config.has_parameter_servers:
        collects = config.output_fn is not None and not config.training
        steps = StepRunner(graph, opened, state.replicator.collective, collects=collects)
        return steps, functools.partial(Loop, state=state, training=config.training)
    workers = RemoteWorkers(
        servers=cast("ParameterServers", state.replicator),
        graph=graph,
        pipeline=pipeline,
        order=order,
        ledger=StepLedger(max_steps),
        worker_positions=state.worker_positions,
        global_step=state.step,
        signal=signal,
    )
    return workers.chief_steps(opened), functools.partial(AsyncLoop, workers=workers)
