"""The stages of a run that take a decision, in the order in which `mox_core.runner` goes through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mox_core.engine import (
    asynchronous,
    checkpoint,
    export,
    far_input,
    hooks,
    inputs,
    inter,
    logs,
    loop,
    modelgraph,
    optimize,
    parameter_servers,
    randomness,
    saving,
    sources,
    steps,
    summaries,
)
from mox_core.engine.replicator import OneDevice
from mox_core.errors import CheckpointError, UsageError
from mox_core.modes import ModeKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tensorflow as tf

    from mox_core.arguments import Job
    from mox_core.engine.state import RunState
    from mox_core.engine.workers import Peers


def find_checkpoint(job: Job, peers: Peers) -> tuple[checkpoint.Checkpoint | None, bool]:
    """Returns the checkpoint to start from, and whether it is of this log_dir: the manual's chapter 6.

    Only the chief reads it: others need not see its disk.
    """
    found, resumed = _own_checkpoint(job) if peers.index == 0 else (None, False)
    prefix, resumed = peers.from_chief([found and found.prefix, resumed])
    return found or (prefix and checkpoint.Checkpoint(prefix, {})), resumed


def _own_checkpoint(job: Job) -> tuple[checkpoint.Checkpoint | None, bool]:
    found = checkpoint.newest(job.log_dir) if job.log_dir else None
    if found is not None:
        if job.checkpoint_path:
            checkpoint.ignored(job.log_dir)
        return found, True
    if job.checkpoint_path:
        try:
            return checkpoint.at(job.checkpoint_path), False
        except CheckpointError as error:
            if not job.log_dir:
                raise
            raise CheckpointError(f"{error} There is none in log_dir {str(job.log_dir)!r} either.") from error
    if not job.training:
        places = [f"log_dir {str(job.log_dir)!r}"] if job.log_dir else []
        raise CheckpointError(
            f"{job.run_mode} needs a checkpoint and found none: "
            f"looked in {' and '.join(places) or 'no folder at all'}, "
            "and checkpoint_path is not given. Train first, or pass log_dir or checkpoint_path."
        )
    return None, False


def seed(resumed: checkpoint.Checkpoint | None, peers: Peers) -> int:
    """Returns the seed of the run; one that goes on keeps that of its beginning, and so its order of samples."""
    own = randomness.run_seed() if resumed is None or resumed.seed is None else resumed.seed
    return int(peers.from_chief(own))


def order(seed: int, peers: Peers) -> sources.Order:
    """Returns the order of samples, and this worker's share of it."""
    return sources.Order(seed=seed, workers=peers.number, worker=peers.index)


def build_graph(
    job: Job, pipeline: inputs.InputPipeline, state: RunState, writer: tf.summary.SummaryWriter | None
) -> modelgraph.ModelGraph:
    """Calls `model_fn` in the mode of the run, with the optimizers where it trains."""
    graph = modelgraph.build(
        job.model_fn,
        job.run_mode,
        state,
        pipeline.fed,
        first_log=job.log_first_clone,
        train=optimize.Training(job.optimizer_fns, state, job.gradients) if job.training else None,
        outputs=job.output_fn is not None,
        writer=writer,
    )
    hooks.check_fed(graph, hooks_of(job, graph))
    return graph


def build_inter_mode(
    job: Job, batching: inputs.Batching, graph: modelgraph.ModelGraph, state: RunState
) -> inter.InterMode | None:
    """Builds input and graph of the inter mode, and refuses hooks that want one where there is none."""
    asking = [type(hook).__name__ for hook in graph.hooks if hook.run_inter_mode()]
    if job.inter_mode is None:
        if job.training and asking:
            raise UsageError(
                f"{asking[0]} runs the inter mode, and there is none: pass inter_mode=mox.ModeKeys.EVAL to mox.run."
            )
        return None
    peers, copies = state.replicator.peers, len(state.replicator.devices)
    pipeline = inputs.build(job.input_fn, job.inter_mode, batching, order=order(state.seed, peers), copies=copies)
    twin = modelgraph.build(job.model_fn, job.inter_mode, state, pipeline.fed, watch=inter.monitored)
    return inter.InterMode(twin, pipeline, graph.hooks, job.log_dir if peers.index == 0 else None, peers)


def build_export(job: Job, pipeline: inputs.InputPipeline, state: RunState) -> modelgraph.ModelGraph | None:
    """Builds what is exported before training, so that what cannot be exported is known before it."""
    if job.exporter is None or job.log_dir is None:
        return None
    graph = modelgraph.build(job.model_fn, ModeKeys.EXPORT, state, export.input_specs(pipeline), replicator=OneDevice())
    export.check(graph, job.log_dir, job.exporter)
    return graph


def check_end(job: Job, pipeline: inputs.InputPipeline, graph: modelgraph.ModelGraph) -> None:
    """Refuses a run that nothing would end, and one of workers that might not end together."""
    cluster = job.cluster if job.training else None
    if cluster and cluster.serving:
        far_input.check(pipeline, graph)
    elif cluster and cluster.several and not (cluster.synchronous or pipeline.endless):
        raise UsageError(
            "--sync_replicas=False without --ps_hosts: workers on their own meet only where their optimizer wrapper "
            "says so, and one whose input ends would leave the others waiting. Let the input of TRAIN go on "
            "(num_epochs=None, dataset.repeat()), and pass max_number_of_steps."
        )
    if job.max_number_of_steps or not pipeline.endless or graph.hooks:
        return
    raise UsageError(
        f"max_number_of_steps is 0 and the input of {job.run_mode} never ends: nothing would end the run. "
        "Pass max_number_of_steps, or num_epochs to the data set."
    )


def begin(job: Job, found: checkpoint.Checkpoint | None, state: RunState, *, resumed: bool) -> None:
    """Gives the model of every worker the values with which it begins, and the input its position."""
    peers = state.replicator.peers
    if found is not None and peers.index == 0:
        _restore(job, found, state, resumed=resumed)
    state.share_chiefs_values()
    state.replicator.begin(state, found if resumed else None)


def _restore(job: Job, found: checkpoint.Checkpoint, state: RunState, *, resumed: bool) -> None:
    """Gives the model what the checkpoint has, and lets a resumed run go on in its input."""
    chosen = None if resumed else job.restored
    checkpoint.restore(found, state.model_variables(), partial=job.training and not resumed, chosen=chosen)
    if job.training and resumed:
        found.restore_positions(state)


def steps_to_do(job: Job, first_step: int, *, resumed: bool) -> int | None:
    """Returns how many steps this run may do, None for any number."""
    if not job.max_number_of_steps:
        return None
    if not job.training:
        return job.max_number_of_steps
    if first_step >= job.max_number_of_steps:
        place = job.log_dir if resumed else job.checkpoint_path
        logs.nothing_to_train(first_step, job.max_number_of_steps, place, resumed=resumed)
    return max(0, job.max_number_of_steps - first_step)


def hooks_of(job: Job, graph: modelgraph.ModelGraph) -> Sequence[Any]:
    """The hooks of the graph; those that run the inter mode have nothing to do where there is no training."""
    return [hook for hook in graph.hooks if job.training or not hook.run_inter_mode()]


def observers(
    job: Job,
    graph: modelgraph.ModelGraph,
    writer: tf.summary.SummaryWriter | None,
    saver: saving.Saver | None,
    first_step: int,
) -> list[loop.Observer]:
    """What is done after steps, in this order: log, summaries, outputs, checkpoint."""
    wanted: list[loop.Observer] = [loop.LogLines(job.log_every_n_steps, training=job.training)]
    if writer is not None and job.training:
        wanted.append(summaries.Summaries(writer, job.save_summary_steps, records=graph.has_summaries))
    if job.output_fn is not None:
        wanted.append(loop.Outputs(job.output_fn, job.output_every_n_steps))
    if saver is not None:
        wanted.append(saving.PeriodicSaver(saver, job.save_model_steps, job.save_model_secs, first_step))
    return wanted


def way_to_run(
    graph: modelgraph.ModelGraph,
    pipeline: inputs.InputPipeline,
    order: sources.Order,
    opened: inputs.OpenInput,
    state: RunState,
    limit: int | None,
) -> tuple[steps.Steps, type[loop.Loop]]:
    """Returns what runs steps, and the loop around it: of one process, and of those beside it that keep step."""
    servers = state.replicator
    if state.progress is None or not isinstance(servers, parameter_servers.ParameterServers):
        return steps.Steps(graph, opened, servers.peers), loop.Loop
    far = servers.workers(graph, pipeline, order, state, limit)
    return asynchronous.ChiefSteps(graph, opened, servers.peers, workers=far), asynchronous.Loop


def report(job: Job, result: loop.Result, state: RunState, writer: tf.summary.SummaryWriter | None) -> None:
    """Says how the run ended, and writes the means of EVAL where TensorBoard finds them."""
    global_step = int(state.step)
    if job.training:
        logs.stopped(result, global_step, state.skipped_steps())
        return
    logs.evaluated(result)
    if writer is not None and job.run_mode == ModeKeys.EVAL:
        summaries.write_scalars(writer, result.means, global_step)
        writer.flush()
