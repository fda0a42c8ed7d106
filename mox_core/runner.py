"""`mox.run`: the story of a run, read top to bottom.

Arguments are checked first, before TensorFlow is imported. Then come the stages, each a module of `mox_core.engine`:
input, model with optimizer, checkpoint, loop with its observers, export.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from attrs import frozen

from mox_core.arguments import NOT_GIVEN, Job, check

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence


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
        export_path: the folder of the exported model; None without export_model, or where a signal ended the run.
        skipped_steps: with the flag `loss_scale`, how many steps of the whole training were skipped because a gradient
            was not finite.
    """

    global_step: int
    steps: int
    samples: int
    stopped_by: str
    metrics: dict[str, float]
    checkpoint: str | None
    export_path: str | None
    skipped_steps: int


def run(  # noqa: PLR0913, PLR0917 (the signature of the manual's API)
    input_fn: Callable[..., Any] | None = None,
    output_fn: Callable[..., Any] | None = None,
    model_fn: Callable[..., Any] | None = None,
    optimizer_fn: Callable[[], Any] | Sequence[Callable[[], Any]] | None = None,
    run_mode: str = "invalid",
    inter_mode: str | None = None,
    batch_size: int | None = None,
    auto_batch: bool = True,  # noqa: FBT001, FBT002 (as above)
    log_dir: str | os.PathLike[str] | None = None,
    max_number_of_steps: int = 0,
    checkpoint_path: str | os.PathLike[str] | None = None,
    log_every_n_steps: int = 10,
    output_every_n_steps: int = 0,
    save_summary_steps: int = 100,
    save_model_secs: float | None = NOT_GIVEN,
    export_model: str | bool | Callable[..., None] | None = False,  # noqa: FBT001, FBT002 (as above)
    fetch_strategy_fn: None = None,
    save_model_steps: int | None = NOT_GIVEN,
) -> RunResult:
    """Trains, evaluates or predicts with a model, and exports it.

    Args:
        input_fn: `input_fn(mode)` returns one tensor, a tuple or list of tensors, or a `tf.data.Dataset`.
        output_fn: `output_fn(outputs)` gets a list of dicts of arrays: `ModelSpec.output_info` of each step.
        model_fn: `model_fn(inputs, mode)` returns a `mox.ModelSpec`; `inputs` is always a list.
        optimizer_fn: a function that returns an optimizer, or a list of them, one for each loss. TRAIN needs it.
        run_mode: `mox.ModeKeys.TRAIN`, `EVAL` or `PREDICT`.
        inter_mode: `mox.ModeKeys.EVAL` lets hooks evaluate while training; None for nothing of the kind.
        batch_size: samples in a batch. None where `input_fn` gives whole batches.
        auto_batch: whether mox makes batches of the samples that `input_fn` gives.
        log_dir: the folder of checkpoints, summaries and exports; None for none of them.
        max_number_of_steps: TRAIN ends when the global step is this high, other modes after so many steps. 0: when the
            input ends or a hook asks for it.
        checkpoint_path: a folder or prefix to start from where log_dir has no checkpoint.
        log_every_n_steps: steps between two lines of the log.
        output_every_n_steps: steps in a window for output_fn; the last one may hold fewer.
        save_summary_steps: steps between two summaries.
        save_model_secs: seconds between two checkpoints, 600 if neither is given; wins over save_model_steps.
        export_model: a name of `mox.ExportKeys`, or a function `(model, directory)` that writes one.
        fetch_strategy_fn: nothing is known of its meaning; it is refused.
        save_model_steps: steps between two checkpoints.

    Returns:
        How the run ended.

    Raises:
        UsageError: where an argument, or what a function returned, cannot be.
        CheckpointError: where a checkpoint is needed and missing, or does not fit.
        DataError: where the input cannot be read.
        NanLossError: where a loss is not finite any more.
    """
    return _run(check(**locals()))


def _run(job: Job) -> RunResult:
    """Goes through the stages of a run."""
    # Here, not at the top: `mox.run` is looked up, and wrong arguments are refused, without TensorFlow.
    # ruff: noqa: PLC0415
    if job.cluster and job.cluster.idle:
        from mox_core import rendezvous

        rendezvous.leave_with_chief(job.cluster, job.session_timeout)
    from mox_core.engine import (
        compat,
        export,
        hooks,
        inputs,
        interrupts,
        parameter_servers,
        place,
        replicator,
        saving,
        stages,
        summaries,
        workers,
    )
    from mox_core.engine.state import RunState

    with contextlib.ExitStack() as stack:
        stack.enter_context(compat.run_scope())
        stack.enter_context(place.of(job.log_dir))
        if job.copies_on_cpu:
            replicator.split_cpu(job.num_copies)
        servers = stack.enter_context(parameter_servers.of(job))
        peers = stack.enter_context(workers.met(job.cluster, job.session_timeout))
        devices = servers or replicator.on_devices(job.num_copies, peers, on_cpu=job.copies_on_cpu)
        log_dir = job.log_dir if peers.index == 0 else None  # the chief alone writes
        found, resumed = stages.find_checkpoint(job, peers)

        batching = inputs.Batching(batch_size=job.batch_size, auto=job.auto_batch)
        seed = stages.seed(found if resumed else None, peers)
        order = servers.order(seed) if servers else stages.order(seed, peers)
        pipeline = inputs.build(job.input_fn, job.run_mode, batching, order=order, copies=job.num_copies)
        stack.callback(pipeline.report.close)

        state = RunState(seed, pipeline.num_positions, devices)
        writer = stack.enter_context(summaries.open_writer(log_dir, training=job.training)) if log_dir else None
        graph = stages.build_graph(job, pipeline, state, writer)
        inter_mode = stages.build_inter_mode(job, batching, graph, state)
        if inter_mode:
            stack.enter_context(inter_mode)
        exported = stages.build_export(job, pipeline, state)
        stages.check_end(job, pipeline, graph)

        stages.begin(job, found, state, resumed=resumed)
        first_step = int(state.step)
        saver = None
        if job.training and log_dir:
            saver = saving.Saver(log_dir, state, job.max_to_keep, last_step=first_step if resumed else None)
            saver.save()
        best = saving.BestWeights(saver, state) if job.training else None
        if best:
            stack.callback(best.close)

        watch = stack.enter_context(interrupts.watched())
        opened = stack.enter_context(pipeline.open(state.own_positions()))
        max_steps = stages.steps_to_do(job, first_step, resumed=resumed)
        stepper, make_loop = stages.way_to_run(graph, pipeline, order, opened, state, max_steps)
        result = make_loop(
            steps=stepper,
            hooks=hooks.HookRunner(
                stages.hooks_of(job, graph), stepper, inter_mode.evaluate if inter_mode else None, best
            ),
            observers=stages.observers(job, graph, writer, saver, first_step),
            interrupts=watch,
            first_global_step=first_step,
            max_steps=max_steps,
            peers=peers,
            training=job.training,
        ).run()

        stages.report(job, result, state, writer)
        interrupted = bool(watch.received) or result.interrupted
        path = None
        # A run that was asked to end is not over: it goes on from its checkpoint, and exports when it gets to its end.
        if exported and job.exporter and log_dir and not interrupted:
            path = export.write(exported, job.exporter, log_dir)
        checkpoint = saver.save() if saver else found.prefix if found else None
        # Others than the chief are told what it has written, and leave when it is there.
        checkpoint, path = peers.from_chief([checkpoint, path])
        return RunResult(
            global_step=int(state.step),
            steps=result.steps,
            samples=result.samples,
            stopped_by=watch.received or result.stopped_by,
            metrics=result.last if job.training else result.means,
            checkpoint=checkpoint,
            export_path=path,
            skipped_steps=state.skipped_steps() if job.training else 0,
        )
