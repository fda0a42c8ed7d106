"""The arguments of `mox.run`, checked by name before TensorFlow does any work."""

from __future__ import annotations

import inspect
import logging
import os
import re
from numbers import Real
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from mox_core.checkpoint_paths import checked_checkpoint_path, checked_path, checkpoint_urls, url_of
from mox_core.cluster.cluster import read as read_cluster
from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import UsageError
from mox_core.export_formats import export_formats
from mox_core.flags import get_flag
from mox_core.misspelt_flags import warn_of_misspelt_flags
from mox_core.modes import RUN_MODES, ModeKeys
from mox_core.name_filter import NameFilter
from mox_core.trackers import choose as choose_trackers
from mox_core.whole_numbers import is_whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mox_core.cluster.cluster import Cluster
    from mox_core.export_formats import ExportFormat
    from mox_core.trackers import Choice


class _NotGiven:
    """What stands for an argument that is not given, where None has a meaning of its own."""

    def __repr__(self) -> str:
        return "not given"


NOT_GIVEN: Final[Any] = _NotGiven()
"""The default of an argument for which None means something else."""

_SAVE_SECS = 600
"""Seconds between two checkpoints, as in TensorFlow's `MonitoredTrainingSession`."""


@frozen(kw_only=True)
class GradientOptions:
    """The flags for gradients: trainable variables, loss scaling and clipping.

    Attributes:
        trainable: chooses the trainable variables that are trained, by name.
        loss_scale: factor of the loss while gradients are computed, 1 or more; 'dynamic' adapts it to overflows.
        clip_type: 'norm', 'value', or '' for no clipping.
        clip: the highest global norm of the gradients of a loss ('norm'), or the highest absolute value of each element
            ('value').
    """

    trainable: NameFilter
    loss_scale: float | str
    clip_type: str
    clip: float


@frozen(kw_only=True)
class RunConfig:
    """The configuration of a run: the checked arguments of `mox.run`, and the flags that it reads.

    Attributes:
        input_fn: `input_fn(mode)`.
        model_fn: `model_fn(inputs, mode)`.
        optimizer_fns: functions that return an optimizer: one, or one for each loss; empty without optimizer_fn.
        output_fn: `output_fn(outputs)`, or None.
        run_mode: TRAIN, EVAL or PREDICT.
        inter_mode: EVAL, or None.
        batch_size: samples in a batch of each replica; None if `input_fn` returns whole batches.
        auto_batch: whether samples are batched.
        log_dir: folder of checkpoints, summaries and exported models, or None.
        checkpoint_path: folder or prefix of the checkpoint to start from, a file of weights, or one of these for each
            scope of variables; or None.
        log_dir_url: the URL of a log_dir on a remote store, or None. log_dir is no place to be used then, before it has
            been staged.
        checkpoint_url: the same of checkpoint_path; of several, those that are on a store.
        max_number_of_steps: global step at which TRAIN ends, number of steps in other modes; 0: no limit.
        log_every_n_steps: steps between two log lines, 1 or more.
        output_every_n_steps: steps in a window for output_fn; 0 only without output_fn.
        save_summary_steps: steps between two summaries, 1 or more.
        save_model_secs: seconds between two checkpoints, or None.
        save_model_steps: steps between two checkpoints, or None; None if save_model_secs is given.
        exports_as: the formats in which the model is exported, none for no export.
        max_to_keep: flag: checkpoints kept in log_dir; 0 keeps all.
        cluster: the processes of a distributed job; None for a single process.
        session_timeout: flag: seconds to wait for the other processes; 0: no limit.
        num_replicas: flag num_gpus: replicas in this process.
        replicas_on_cpu: flag clone_on_cpu: whether replicas are placed on logical CPU devices.
        plain: flag: whether a terminal shows plain lines.
        log_first_clone: flag: log the values of the first replica instead of the mean over all.
        num_inter_threads: flag: threads of TensorFlow for operations beside each other; 0: its own choice.
        num_intra_threads: flag: threads of TensorFlow inside of an operation; 0: its own choice.
        restored: chooses the variables that are restored from checkpoint_path.
        gradients: the flags for gradients.
        trackers: what keeps the run beside log_dir; those of the flag too.
    """

    input_fn: Callable[..., Any]
    model_fn: Callable[..., Any]
    optimizer_fns: Sequence[Callable[[], Any]]
    output_fn: Callable[..., Any] | None
    run_mode: str
    inter_mode: str | None
    batch_size: int | None
    auto_batch: bool
    log_dir: Path | None
    checkpoint_path: Path | Mapping[str, Path] | None
    log_dir_url: str | None
    checkpoint_url: str | Mapping[str, str] | None
    max_number_of_steps: int
    log_every_n_steps: int
    output_every_n_steps: int
    save_summary_steps: int
    save_model_secs: float | None
    save_model_steps: int | None
    exports_as: Sequence[ExportFormat]
    max_to_keep: int
    cluster: Cluster | None
    session_timeout: float
    num_replicas: int
    replicas_on_cpu: bool
    plain: bool
    log_first_clone: bool
    num_inter_threads: int
    num_intra_threads: int
    restored: NameFilter
    gradients: GradientOptions
    trackers: Sequence[Choice]

    @property
    def training(self) -> bool:
        """Whether the run trains."""
        return self.run_mode == ModeKeys.TRAIN

    @property
    def is_chief(self) -> bool:
        """Whether this process reads and writes checkpoints: of several, one does."""
        return self.cluster is None or self.cluster.is_chief

    @property
    def writes(self) -> bool:
        """Whether this process writes into log_dir: of several, the chief alone does."""
        return self.log_dir is not None and self.is_chief

    @property
    def saves(self) -> bool:
        """Whether this process saves checkpoints."""
        return self.training and self.writes

    @property
    def exports(self) -> bool:
        """Whether this process exports a model."""
        return bool(self.exports_as) and self.writes

    @property
    def has_parameter_servers(self) -> bool:
        """Whether the run trains asynchronous workers, with variables on parameter servers."""
        return self.training and self.cluster is not None and self.cluster.uses_parameter_servers


def check_arguments(  # noqa: PLR0913 (the arguments of mox.run)
    *,
    input_fn: object,
    output_fn: object,
    model_fn: object,
    optimizer_fn: object,
    run_mode: object,
    inter_mode: object,
    batch_size: object,
    auto_batch: object,
    log_dir: object,
    max_number_of_steps: object,
    checkpoint_path: object,
    log_every_n_steps: object,
    output_every_n_steps: object,
    save_summary_steps: object,
    save_model_secs: object,
    save_model_steps: object,
    export_model: object,
    fetch_strategy_fn: object,
    trackers: object,
) -> RunConfig:
    """Return the configuration of a run from the arguments of `mox.run`, which documents them, and mox's flags.

    Raises:
        UsageError: if an argument or a flag has a value that is not allowed, or contradicts another one.
        UnknownNameError: if no plugin, or more than one, offers the name in export_model.
    """
    mode = _run_mode(run_mode)
    if fetch_strategy_fn is not None:
        raise UsageError("fetch_strategy_fn is not supported, nothing is known of its meaning: leave it out.")
    warn_of_misspelt_flags()
    if log_dir == "" and mode == ModeKeys.TRAIN:
        logging.getLogger("tensorflow").warning("log_dir is '': nothing is saved, no checkpoint either.")
    cluster = read_cluster(get_flag, os.environ)
    seconds, steps = _saving(save_model_secs, save_model_steps)
    return RunConfig(
        run_mode=mode,
        inter_mode=_inter_mode(inter_mode, mode),
        input_fn=_check_function(input_fn, "input_fn", "mode"),
        model_fn=_check_function(model_fn, "model_fn", "inputs", "mode"),
        optimizer_fns=_optimizer_fns(optimizer_fn, mode),
        output_fn=_output_fn(output_fn, output_every_n_steps, mode),
        batch_size=None if batch_size is None else _whole_number(batch_size, "batch_size", least=1),
        auto_batch=_boolean(auto_batch, "auto_batch"),
        log_dir=checked_path(log_dir, "log_dir"),
        log_dir_url=url_of(log_dir),
        checkpoint_path=checked_checkpoint_path(checkpoint_path),
        checkpoint_url=checkpoint_urls(checkpoint_path),
        max_number_of_steps=_whole_number(max_number_of_steps, "max_number_of_steps", least=0),
        log_every_n_steps=_whole_number(log_every_n_steps, "log_every_n_steps", least=1),
        output_every_n_steps=_whole_number(output_every_n_steps, "output_every_n_steps", least=0),
        save_summary_steps=_whole_number(save_summary_steps, "save_summary_steps", least=1),
        save_model_secs=seconds,
        save_model_steps=steps,
        max_to_keep=get_flag("max_to_keep"),
        cluster=cluster,
        session_timeout=get_flag("session_timeout"),
        num_replicas=get_flag("num_gpus"),
        replicas_on_cpu=get_flag("clone_on_cpu"),
        plain=get_flag("plain"),
        log_first_clone=get_flag("log_first_clone"),
        num_inter_threads=get_flag("num_inter_threads"),
        num_intra_threads=get_flag("num_intra_threads"),
        restored=_name_filter("checkpoint_include_patterns", "checkpoint_exclude_patterns"),
        gradients=_gradient_options(),
        trackers=choose_trackers(trackers, get_flag("trackers")),
        exports_as=_exports_as(export_model, log_dir),  # last, as it may import TensorFlow
    )


def _run_mode(mode: object) -> str:
    if mode in RUN_MODES:
        return str(mode)
    also = " EXPORT is not run: pass export_model." if mode == ModeKeys.EXPORT else ""
    help_ = did_you_mean(nearest(str(mode), RUN_MODES))
    raise UsageError(
        f"run_mode is {mode!r}; it must be one of {', '.join(map(repr, RUN_MODES))}.{also} {help_}".rstrip()
    )


def _inter_mode(inter_mode: object, run_mode: str) -> str | None:
    if inter_mode is None:
        return None
    if inter_mode != ModeKeys.EVAL:
        raise UsageError(f"inter_mode is {inter_mode!r}; it must be mox.ModeKeys.EVAL, or None.")
    if run_mode != ModeKeys.TRAIN:
        raise UsageError(f"inter_mode goes with run_mode TRAIN, and run_mode is {run_mode!r}: leave inter_mode out.")
    return ModeKeys.EVAL


def _check_function(function: object, name: str, *parameters: str) -> Callable[..., Any]:
    if not callable(function):
        wanted = f"it must be a function: def {name}({', '.join(parameters)}, **kwargs)."
        raise UsageError(
            f"{name} is {function!r}; {wanted}" if function is not None else f"{name} is missing; {wanted}"
        )
    if name == "model_fn" and hasattr(function, "trainable_variables"):
        raise UsageError(
            f"model_fn is a Keras model, {function!r}; it must be a function that calls it: "
            "def model_fn(inputs, mode): logits = model(inputs[0]); ...; return mox.ModelSpec(loss=loss)."
        )
    return _check_signature(function, name, *parameters)


def _check_signature(function: Callable[..., Any], name: str, *parameters: str) -> Callable[..., Any]:
    """Return the function; raise a UsageError if it cannot be called with these positional arguments."""
    try:
        inspect.signature(function).bind(*parameters)
    except TypeError as error:
        raise UsageError(
            f"{name} is called as {name}({', '.join(parameters)}), which {_described(function)} does not take: {error}."
        ) from error
    except ValueError:  # a callable written in C may have no signature
        pass
    return function


def _optimizer_fns(functions: Any, mode: str) -> Sequence[Callable[[], Any]]:
    example = "optimizer_fn=mox.get_optimizer_fn('momentum', learning_rate=0.1, momentum=0.9)."
    if functions is None:
        if mode == ModeKeys.TRAIN:
            raise UsageError(f"optimizer_fn is missing; TRAIN needs it: {example}")
        return ()
    several = functions if isinstance(functions, (list, tuple)) else [functions]
    if not several:
        raise UsageError(
            "optimizer_fn is an empty list; it must be a function that returns an optimizer, or one for each loss."
        )
    for function in several:
        if hasattr(function, "apply_gradients") and not isinstance(function, type):
            raise UsageError(
                f"optimizer_fn is {function!r}; it must be a function that returns an optimizer, not the optimizer: "
                f"optimizer_fn=lambda: {type(function).__name__}(...)."
            )
        if not callable(function):
            raise UsageError(
                f"optimizer_fn is {function!r}; it must be a function that returns an optimizer: {example}"
            )
        _check_signature(function, "optimizer_fn")
    return several


def _output_fn(function: object, every: object, mode: str) -> Callable[..., Any] | None:
    if function is None:
        if mode == ModeKeys.PREDICT:
            raise UsageError("output_fn is missing; PREDICT gives its results to it: def output_fn(outputs, **kwargs).")
        return None
    if not is_whole_number(every, least=1):
        raise UsageError(
            f"output_every_n_steps is {every!r}; with output_fn it must be 1 or more: how many steps are handed over "
            "at a time. output_every_n_steps=1 hands over each step by itself."
        )
    return _check_function(function, "output_fn", "outputs")


def _whole_number(value: object, name: str, *, least: int) -> int:
    if is_whole_number(value, least=least):
        return int(value)
    raise UsageError(f"{name} is {value!r}; it must be a whole number, {least} or more.")


def _boolean(value: object, name: str) -> bool:
    if isinstance(value, bool):
        return value
    raise UsageError(f"{name} is {value!r}; it must be True or False.")


def _saving(seconds: object, steps: object) -> tuple[float | None, int | None]:
    """Return seconds and steps between checkpoints: seconds take precedence; 600 seconds if neither is given."""
    if seconds is NOT_GIVEN and steps is NOT_GIVEN:
        return float(_SAVE_SECS), None
    wanted = None if steps is NOT_GIVEN or steps is None else _whole_number(steps, "save_model_steps", least=1)
    if seconds is NOT_GIVEN or seconds is None:
        return None, wanted
    # Real includes NumPy's numbers; the comparison is also False for NaN.
    number = 0.0 if isinstance(seconds, bool) or not isinstance(seconds, Real) else float(seconds)
    if not number > 0:
        raise UsageError(f"save_model_secs is {seconds!r}; it must be a number of seconds above 0.")
    return number, None


def _exports_as(export_model: object, log_dir: object) -> Sequence[ExportFormat]:
    formats = export_formats(export_model)
    if formats and not log_dir:
        raise UsageError("export_model needs log_dir: the exported model is written into a version folder there.")
    for each in formats:
        _check_signature(each.find(), "export_model", "model", "directory")
    return formats


def _name_filter(include: str, exclude: str) -> NameFilter:
    return NameFilter(_patterns(include), _patterns(exclude))


def _gradient_options() -> GradientOptions:
    kind, clip = get_flag("gradient_clip_type"), get_flag("gradient_clip")
    if bool(kind) != bool(clip):
        raise UsageError(
            f"--gradient_clip_type={kind} and --gradient_clip={clip:g} go together: give a type, 'norm' or 'value', "
            "and a number above 0, or neither."
        )
    return GradientOptions(
        trainable=_name_filter("trainable_include_patterns", "trainable_exclude_patterns"),
        loss_scale=get_flag("loss_scale"),
        clip_type=kind,
        clip=clip,
    )


def _patterns(flag: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in get_flag(flag).split(",") if part.strip())
    for part in parts:
        try:
            re.compile(part)
        except re.error as error:
            raise UsageError(f"flag {flag!r} holds {part!r}, which is no regular expression: {error}.") from error
    return parts


def _described(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__name__', type(function).__name__)}{inspect.signature(function)}"
