"""mox's command-line flags, beside those that a script defines for itself.

mox parses its own flags from `sys.argv` when they are read, whether the script parses its own with absl, with
`tf.compat.v1.app.run`, with argparse, or not at all. The rule to keep: if a script defines a flag of the same name, the
flag is the script's. So is `log_dir`, which MoXing's scripts define and absl has taken for its own logging since.

Flags that MoXing had and that have no meaning here are taken too, so that its scripts and command lines stay as they
are; one that is set says once why it has no effect.
"""

from __future__ import annotations

import logging
import math
import re
import sys
from functools import cache
from typing import Any, NamedTuple

import absl.logging  # its flags must be there before those of a script, to step back for them
from absl import flags as absl_flags

from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import UnknownNameError, UsageError

_MAY_BE_SECRET = re.compile("pass|secret|token|key|credential|auth", re.IGNORECASE)

FlagValue = bool | int | float | str
"""The types of flag values."""


def get_flag(flag_name: str) -> Any:
    """Return the value of one of mox's flags: from `set_flag`, else from the command line, else its default.

    Args:
        flag_name: the name without dashes, like `num_gpus`.

    Returns:
        A bool, int, float or str, of the type of the flag's default; 'dynamic' for loss_scale is a str.

    Raises:
        UnknownNameError: if mox has no such flag.
        UsageError: if the flag does not allow the value on the command line.
    """
    flag = _known(flag_name)
    if flag_name in _set_by_program:
        return _set_by_program[flag_name]
    return _from_command_line(flag, tuple(sys.argv))


def set_flag(flag_name: str, value: FlagValue) -> None:
    """Set one of mox's flags, with precedence over the command line. Call it before `mox.run`.

    Args:
        flag_name: the name without dashes, like `num_gpus`.
        value: of the type of the flag's default; an int is converted for a flag of type float.

    Raises:
        UnknownNameError: if mox has no such flag.
        UsageError: if the flag does not allow the value.
    """
    flag = _known(flag_name)
    if not flag.allows(value):
        raise UsageError(f"flag {flag_name!r} cannot be {value!r}: it is {flag.rule}.")
    _set_by_program[flag_name] = float(value) if isinstance(flag.default, float) and type(value) is int else value
    if flag.unused:
        warn_of_no_effect(flag_name)


def names() -> list[str]:
    """Return the names that mox reads on the command line, those with `no` in front too."""
    negations = [f"no{flag.name}" for flag in _FLAGS.values() if isinstance(flag.default, bool)]
    return [*_FLAGS, *negations]


def describe() -> str:
    """Return a line for each flag: its name, its default and what it is."""
    return "\n".join(f"--{flag.name}={flag.default}: {flag.help}" for _, flag in sorted(_FLAGS.items()))


def changed_flags() -> dict[str, FlagValue]:
    """Return the flags whose values are not their defaults."""
    values = {flag.name: get_flag(flag.name) for flag in _FLAGS.values()}
    return {name: value for name, value in values.items() if value != _FLAGS[name].default}


def script_flags() -> dict[str, Any]:
    """Return the flags that the script defines by absl, without what may be a secret."""
    key_flags = absl_flags.FLAGS.get_flags_for_module(sys.argv[0])  # the name that absl gives the main module
    values = {flag.name: flag.value for flag in key_flags if flag.name not in _FLAGS}
    return {name: value for name, value in values.items() if not _MAY_BE_SECRET.search(name)}


def values() -> dict[str, FlagValue]:
    """Return the value of each flag that has a meaning here, by its name."""
    return {name: get_flag(name) for name, flag in sorted(_FLAGS.items()) if not flag.unused}


def names_without_effect() -> list[str]:
    """Return the names of MoXing's flags that have no meaning here."""
    return [flag.name for flag in _FLAGS.values() if flag.unused]


@cache
def warn_of_no_effect(name: str) -> None:
    """Log why a flag has no effect, once."""
    logging.getLogger("tensorflow").warning("flag %s has no effect: %s.", name, _FLAGS[name].unused)


class _Flag(NamedTuple):  # importing attrs would take a fifth of the time of `import mox_core`
    """One of mox's flags; its type is that of the default."""

    name: str
    default: FlagValue
    help: str
    lowest: int = 0
    choices: tuple[str, ...] = ()
    """The allowed values of a string; the words that a number may be replaced by."""
    unused: str = ""
    """Why a flag of MoXing has no effect here; empty for one that has."""

    @property
    def rule(self) -> str:
        words = list(map(repr, self.choices))
        if isinstance(self.default, bool):
            return "True or False"
        if isinstance(self.default, int):
            return f"a whole number, {self.lowest} or more"
        if isinstance(self.default, float):
            return ", or ".join([f"a number of {self.lowest} or more", *words])
        return f"one of {', '.join(words)}" if words else "a string"

    def allows(self, value: object) -> bool:
        if isinstance(value, bool) or isinstance(self.default, bool):
            return type(value) is type(self.default)  # num_gpus=True is an error
        if isinstance(value, str) and self.choices:
            return value in self.choices
        if isinstance(self.default, float):
            return isinstance(value, (int, float)) and self.lowest <= value < math.inf
        return type(value) is type(self.default) and (isinstance(value, str) or value >= self.lowest)

    def define(self, values: absl_flags.FlagValues) -> None:
        """Define the flag in `values`; a later definition of the same name may override it."""
        common: dict[str, Any] = {"flag_values": values, "allow_override": True}
        if isinstance(self.default, bool):
            absl_flags.DEFINE_boolean(self.name, self.default, self.help, **common)
        elif isinstance(self.default, int):
            absl_flags.DEFINE_integer(self.name, self.default, self.help, lower_bound=self.lowest, **common)
        elif isinstance(self.default, float):
            parser = _NumberParser(self)
            absl_flags.DEFINE(parser, self.name, self.default, self.help, **common)
        elif self.choices:
            absl_flags.DEFINE_enum(self.name, self.default, list(self.choices), self.help, **common)
        else:
            absl_flags.DEFINE_string(self.name, self.default, self.help, **common)


class _NumberParser(absl_flags.ArgumentParser[Any]):
    """A parser of a number, or of one of the flag's choices."""

    def __init__(self, flag: _Flag) -> None:
        self._flag = flag
        self.syntactic_help = flag.rule

    def parse(self, argument: str | float) -> FlagValue:
        try:
            value: FlagValue = float(argument)
        except ValueError:
            value = argument
        if not self._flag.allows(value):
            raise ValueError(f"it is {self._flag.rule}.")
        return value


_NO_CHOICE = "workers exchange gradients in one way, all-reduce, or over parameter servers without sync_replicas"
_NO_COMPRESSION = "mox has no gradient compression"
_BY_TENSORFLOW = "TensorFlow decides it"

_FLAGS = {
    flag.name: flag
    for flag in (
        _Flag("num_gpus", 1, "devices that this process trains on; leave it at 1 on a CPU", lowest=1),
        _Flag("job_name", "", "what this process is in a distributed job", choices=("", "ps", "worker", "controller")),
        _Flag("task_index", 0, "which of the processes of its job this one is; worker 0 is the chief"),
        _Flag("ps_hosts", "", "host:port of every ps process, separated by commas"),
        _Flag("worker_hosts", "", "host:port of every worker process, separated by commas"),
        _Flag("clone_on_cpu", default=False, help="num_gpus counts parts of the CPU: to try a job without GPUs"),
        _Flag("sync_replicas", default=True, help="whether the workers step together"),
        _Flag("session_timeout", 600, "seconds to wait for the other processes of a job; 0: without end"),
        _Flag("plain", default=False, help="plain lines of the log on a terminal, too, without a line of progress"),
        _Flag("log_first_clone", default=True, help="log the first replica's values instead of the mean over all"),
        _Flag("checkpoint_exclude_patterns", "", "variables that checkpoint_path leaves, separated by commas"),
        _Flag("checkpoint_include_patterns", "", "variables that checkpoint_path restores, separated by commas"),
        _Flag("trainable_exclude_patterns", "", "variables that TRAIN leaves as they are, separated by commas"),
        _Flag("trainable_include_patterns", "", "variables that TRAIN trains, separated by commas"),
        _Flag("gradient_clip_type", "", "what gradient_clip limits", choices=("", "norm", "value")),
        _Flag("gradient_clip", 0.0, "the highest norm of all gradients together, or the highest value of each"),
        _Flag("loss_scale", 1.0, "factor of the loss for gradients in float16", lowest=1, choices=("dynamic",)),
        _Flag("max_to_keep", 5, "checkpoints that stay in log_dir; 0 keeps all"),
        _Flag("num_inter_threads", 0, "threads of TensorFlow for operations beside each other; 0: its own choice"),
        _Flag("num_intra_threads", 0, "threads of TensorFlow inside of an operation; 0: its own choice"),
        _Flag("trackers", "", "what keeps the run beside log_dir, as csv,mlflow"),
        *(
            _Flag(name, default, f"no effect: {unused}", unused=unused)
            for name, default, unused in (
                ("chief_inc_global_step", False, "the global step counts the steps of the job"),
                (
                    "controller_host",
                    "",
                    "workers lead themselves; --job_name=controller leaves with them",
                ),
                ("dgc_momentum", 0.0, _NO_COMPRESSION),
                ("dgc_momentum_factor_masking", False, _NO_COMPRESSION),
                ("dgc_momentum_type", "vanilla", _NO_COMPRESSION),
                ("dgc_sparsity_strategy", "", _NO_COMPRESSION),
                ("dgc_total_samples", 0, _NO_COMPRESSION),
                ("local_parameter_device", "", _BY_TENSORFLOW),
                ("min_size_in_kb", 0, _NO_CHOICE),
                ("num_prefetch_threads", 0, _BY_TENSORFLOW),
                ("running_log_level", 0, "tf.compat.v1.logging.set_verbosity sets the level of the log"),
                ("server_protocol", "", "processes speak gRPC"),
                ("sync_before_server", False, _NO_CHOICE),
                ("use_fp16", False, "mox.var_scope, or a dtype policy of Keras, computes in float16"),
                ("var_dtype", "fp32", "a variable has the dtype with which it is made"),
                ("var_mix_offset", 0, _NO_CHOICE),
                ("var_space_starter", 0, _NO_CHOICE),
                ("variable_update", "", _NO_CHOICE),
                ("warmup_steps", 0, "training begins at once, without trials of variable_update"),
            )
        ),
    )
}

_set_by_program: dict[str, FlagValue] = {}


def _known(name: str) -> _Flag:
    if name in _FLAGS:
        return _FLAGS[name]
    lines = [f"unknown flag {name!r}.", did_you_mean(nearest(str(name), _FLAGS))]
    known = sorted(set(_FLAGS) - set(names_without_effect()))
    if name in absl_flags.FLAGS:
        lines.append(f"The script defines it: read absl.flags.FLAGS.{name}.")
    raise UnknownNameError("\n".join(filter(None, [*lines, f"Known: {', '.join(known)}."])))


@cache
def _from_command_line(flag: _Flag, argv: tuple[str, ...]) -> Any:
    values = absl_flags.FlagValues()  # type: ignore[no-untyped-call]
    flag.define(values)
    try:
        values(argv, known_only=True)
    except (absl_flags.Error, ValueError) as error:
        if absl_flags.FLAGS.find_module_defining_flag(flag.name, __name__) == __name__:
            raise UsageError(
                f"{error}\n--{flag.name} is {flag.rule}. If the script means something else by --{flag.name}, "
                f"call mox.set_flag({flag.name!r}, {flag.default!r}) before anything reads it."
            ) from error
        return flag.default  # the script defines a flag of this name, with other values
    return values[flag.name].value


def _define_in_absl() -> None:
    """Define mox's flags in `absl.flags.FLAGS`, so that strict parsing there accepts `--num_gpus=4`."""
    for flag in _FLAGS.values():
        if flag.name not in absl_flags.FLAGS:
            flag.define(absl_flags.FLAGS)
    if absl_flags.FLAGS.find_module_defining_flag("log_dir") == absl.logging.__name__:
        absl_flags.FLAGS["log_dir"].allow_override = True


_define_in_absl()
