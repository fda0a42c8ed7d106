"""`mox.run`: its arguments are checked before TensorFlow is imported, then `mox_core.engine.run` runs them."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from mox_core import remote_log_dir, tracebacks
from mox_core.arguments import NOT_GIVEN, check_arguments
from mox_core.checkpoint_paths import is_certainly_empty, no_checkpoint
from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mox_core.arguments import RunConfig
    from mox_core.run_result import RunResult
    from mox_core.trackers import Tracker


_OTHER_NAMES: Final = {
    "epochs": "num_epochs of the data set, or max_number_of_steps = epochs * samples // batch_size",
    "steps": "max_number_of_steps",
    "max_steps": "max_number_of_steps",
    "steps_per_epoch": "max_number_of_steps, for all epochs together",
    "x": "input_fn",
    "y": "input_fn, which returns inputs and labels",
    "data": "input_fn",
    "dataset": "input_fn, which returns it",
    "validation_data": "inter_mode=mox.ModeKeys.EVAL: input_fn is called in that mode, too",
    "validation_split": "inter_mode=mox.ModeKeys.EVAL: input_fn is called in that mode, too",
    "callbacks": "hooks of mox.ModelSpec",
    "hooks": "hooks of mox.ModelSpec",
    "optimizer": "optimizer_fn",
    "model": "model_fn",
    "loss": "loss of mox.ModelSpec",
    "metrics": "log_info of mox.ModelSpec",
    "mode": "run_mode",
    "model_dir": "log_dir",
    "params": "arguments of functions of your own, around input_fn and model_fn",
    "learning_rate": "an argument of the optimizer that optimizer_fn returns",
    "verbose": "log_every_n_steps",
}
"""What does here what arguments of other trainers do there."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _for_users(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Name arguments that there are not, and show errors with the user's own lines."""
    known = inspect.signature(function).parameters

    @functools.wraps(function)
    def in_their_words(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        __tracebackhide__ = True  # from pytest
        try:
            _check_names(kwargs, known)
            return function(*args, **kwargs)
        except Exception as error:
            if tracebacks.is_wanted_whole():
                raise
            failure = error
        try:
            raise tracebacks.folded(failure)  # MOX_FULL_TRACEBACK=1 shows the lines of mox, TensorFlow and Keras, too
        finally:
            del failure  # its traceback holds this frame, and with it all that the run held

    return in_their_words


def _check_names(given: Iterable[str], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            here = f"Here that is {_OTHER_NAMES[name]}." if name in _OTHER_NAMES else did_you_mean(nearest(name, known))
            raise UsageError(f"mox.run takes no argument {name!r}. {here}".rstrip())


@_for_users
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
    checkpoint_path: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]] | None = None,
    log_every_n_steps: int = 10,
    output_every_n_steps: int = 0,
    save_summary_steps: int = 100,
    save_model_secs: float | None = NOT_GIVEN,
    export_model: str | bool | Callable[..., None] | Sequence[str | Callable[..., None]] | None = False,  # noqa: FBT001, FBT002 (as above)
    fetch_strategy_fn: None = None,
    save_model_steps: int | None = NOT_GIVEN,
    trackers: Sequence[str | Callable[[], Tracker]] | None = None,
) -> RunResult:
    """Train, evaluate or predict with a model, and export it.

    Args:
        input_fn: `input_fn(mode)` returns one tensor, a tuple or list of tensors, or a `tf.data.Dataset`; for a tensor
            there may also be a dict, a tuple, a RaggedTensor or a SparseTensor.
        output_fn: `output_fn(outputs)` gets a list of dicts of arrays: `ModelSpec.output_info` of each step.
        model_fn: `model_fn(inputs, mode)` returns a `mox.ModelSpec`; `inputs` is always a list, of what `input_fn`
            gave in its order and structure.
        optimizer_fn: a function that returns an optimizer, or a list of them, one for each loss; a single one is called
            for each loss. TRAIN needs it.
        run_mode: `mox.ModeKeys.TRAIN`, `EVAL` or `PREDICT`.
        inter_mode: `mox.ModeKeys.EVAL` makes hooks evaluate during training; None for no evaluation.
        batch_size: samples in a batch. None where `input_fn` gives whole batches.
        auto_batch: whether mox makes batches of the samples that `input_fn` gives.
        log_dir: the folder of checkpoints, summaries and exports, on this machine or on a store (`s3://bucket/folder`);
            None, or '', for none of them.
        max_number_of_steps: TRAIN ends when the global step is this high, other modes after so many steps. 0: when the
            input ends or a hook asks for it.
        checkpoint_path: where to start from where log_dir has no checkpoint: a folder or prefix, on this machine or on
            a store; weights of another program (`.weights.h5`, `.keras`, `.h5`, a preset of keras_hub, a SavedModel);
            'imagenet', for those that keras.applications publishes of the network; or a dict with one of these for each
            scope of variables, {'teacher/': ..., 'student/': ...}.
        log_every_n_steps: steps between two lines of the log.
        output_every_n_steps: steps in a window for output_fn; the last one may hold fewer.
        save_summary_steps: steps between two summaries.
        save_model_secs: seconds between two checkpoints, 600 if neither is given; wins over save_model_steps.
        export_model: a name of `mox.ExportKeys`, or a function `(model, directory)` that writes one; or a list of them.
        fetch_strategy_fn: nothing is known of its meaning; it is refused.
        save_model_steps: steps between two checkpoints.
        trackers: what keeps the run beside log_dir: names of trackers, such as 'csv' or 'mlflow', and functions that
            return one. Those of the flag `trackers` are added.

    Returns:
        How the run ended.

    Raises:
        UsageError: if an argument, or the result of a user's function, is not valid.
        LogDirError: if log_dir is in use by another run, cannot be written, or goes while the run lasts.
        CheckpointError: if a checkpoint is needed and missing, or does not fit.
        DataError: if the input cannot be read.
        NanLossError: if a loss is not finite.
        ClusterError: if another process of a job is missing or lost.
    """
    config = check_arguments(
        input_fn=input_fn,
        output_fn=output_fn,
        model_fn=model_fn,
        optimizer_fn=optimizer_fn,
        run_mode=run_mode,
        inter_mode=inter_mode,
        batch_size=batch_size,
        auto_batch=auto_batch,
        log_dir=log_dir,
        max_number_of_steps=max_number_of_steps,
        checkpoint_path=checkpoint_path,
        log_every_n_steps=log_every_n_steps,
        output_every_n_steps=output_every_n_steps,
        save_summary_steps=save_summary_steps,
        save_model_secs=save_model_secs,
        export_model=export_model,
        fetch_strategy_fn=fetch_strategy_fn,
        save_model_steps=save_model_steps,
        trackers=trackers,
    )
    return _run(config)


def _run(config: RunConfig) -> RunResult:
    # Here, not at the top: `mox.run` is looked up, and wrong arguments are refused, without TensorFlow.
    # ruff: noqa: PLC0415
    # Of several workers all are told, when they have met.
    elsewhere = config.cluster or config.checkpoint_path or config.log_dir_url
    if not config.training and not elsewhere and is_certainly_empty(config.log_dir):
        raise no_checkpoint(config.run_mode, config.log_dir)
    if config.cluster and config.cluster.idle:
        from mox_core.cluster import rendezvous

        rendezvous.leave_with_chief(config.cluster, config.session_timeout)
    with remote_log_dir.hold(config) as (here, held):
        from mox_core.engine import run as engine_run

        return remote_log_dir.in_urls(engine_run.run(here, held), config)
