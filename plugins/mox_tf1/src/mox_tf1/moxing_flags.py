"""The flags that MoXing had and mox has not: taken on the command line, by `set_flag` and by `get_flag`.

Where TensorFlow 2 has the same, they work. One that has no meaning here says so, once, when it is set. As in mox, a
flag that a script defines under the same name is the script's.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, NamedTuple, cast

from absl import flags as absl_flags

import mox_core
from mox_core.errors import UsageError
from mox_core.flags import names as flags_of_mox

Value = bool | int | float | str


class _Extra(NamedTuple):
    default: Value
    why: str = ""
    """Why the flag has no effect here; empty if it has one."""


_TF_RUNTIME: Final = "TensorFlow 2 decides it by itself"
_ALWAYS_SO: Final = "workers exchange gradients in the one way that mox has (docs/distributed.md)"
_NO_DGC: Final = "mox has no gradient compression"

_EXTRA: Final = {
    "chief_inc_global_step": _Extra(default=False, why="the global step counts the steps of the job"),
    "controller_host": _Extra("", _ALWAYS_SO),
    "dgc_momentum": _Extra(0.0, _NO_DGC),
    "dgc_momentum_factor_masking": _Extra(default=False, why=_NO_DGC),
    "dgc_momentum_type": _Extra("vanilla", _NO_DGC),
    "dgc_sparsity_strategy": _Extra("", _NO_DGC),
    "dgc_total_samples": _Extra(0, _NO_DGC),
    "local_parameter_device": _Extra("", _TF_RUNTIME),
    "min_size_in_kb": _Extra(0, _ALWAYS_SO),
    "num_inter_threads": _Extra(0),
    "num_intra_threads": _Extra(0),
    "num_prefetch_threads": _Extra(0, _TF_RUNTIME),
    "running_log_level": _Extra(0, "the level is that of `tf.logging.set_verbosity`"),
    "server_protocol": _Extra("", "workers speak gRPC"),
    "sync_before_server": _Extra(default=False, why=_ALWAYS_SO),
    "use_fp16": _Extra(
        default=False, why="compute in float16 by mox.var_scope(force_dtype=tf.float32), or a Keras policy"
    ),
    "var_dtype": _Extra("fp32", "the type of a variable is the one that it is made with"),
    "var_mix_offset": _Extra(0, _ALWAYS_SO),
    "var_space_starter": _Extra(0, _ALWAYS_SO),
    "variable_update": _Extra("", _ALWAYS_SO),
    "warmup_steps": _Extra(0, "training begins at once, without trials of ways to update variables"),
}
"""Flags by name."""

_set: dict[str, Value] = {}
_said: set[str] = set()


def define() -> None:
    """Define the flags in absl, so that strict parsing there takes them; a script may define them again."""
    for name, extra in _EXTRA.items():
        if name not in absl_flags.FLAGS:
            _define(name, extra, absl_flags.FLAGS)


def get_flag(flag_name: str) -> Any:
    """Return the value of a flag of mox or MoXing: from `set_flag`, else from the command line, else its default."""
    if flag_name not in _EXTRA or flag_name in flags_of_mox():
        return mox_core.get_flag(flag_name)
    return _set[flag_name] if flag_name in _set else _from_command_line(flag_name)


def set_flag(flag_name: str, value: Value) -> None:
    """Set a flag of mox or MoXing, with precedence over the command line. Call it before `mox.run`."""
    if flag_name not in _EXTRA or flag_name in flags_of_mox():
        mox_core.set_flag(flag_name, value)
        return
    kind = type(_EXTRA[flag_name].default)
    if not isinstance(value, (int, float) if kind is float else kind):
        raise UsageError(f"flag {flag_name!r} cannot be {value!r}: it is of type {kind.__name__}.")
    _set[flag_name] = value
    _say_if_meaningless(flag_name)


def get_help() -> str:
    """Return a line for each flag, with its value."""
    named = sorted({*_EXTRA, *(name for name in flags_of_mox() if name in absl_flags.FLAGS)})
    return "\n".join(f"--{name}={get_flag(name)!r}" + _note(name) for name in named)


def apply() -> None:
    """Give effect to the flags that TensorFlow 2 has too, and say which ones on the command line have none."""
    for name in _EXTRA:
        if get_flag(name) != _EXTRA[name].default:
            _say_if_meaningless(name)
    import tensorflow as tf  # noqa: PLC0415  (flags are read without it)

    threading = tf.config.threading
    for name, set_threads in (
        ("num_inter_threads", threading.set_inter_op_parallelism_threads),
        ("num_intra_threads", threading.set_intra_op_parallelism_threads),
    ):
        if get_flag(name):
            try:
                set_threads(get_flag(name))
            except RuntimeError:
                _log(f"--{name} has no effect: TensorFlow has begun to compute, with other numbers of threads")


def _note(name: str) -> str:
    return f"  (no effect: {_EXTRA[name].why})" if name in _EXTRA and _EXTRA[name].why else ""


def _say_if_meaningless(name: str) -> None:
    if _EXTRA[name].why and name not in _said:
        _said.add(name)
        _log(f"--{name} has no effect: {_EXTRA[name].why}")


def _log(text: str) -> None:
    logging.getLogger("tensorflow").warning("%s.", text)


def _define(name: str, extra: _Extra, values: absl_flags.FlagValues) -> None:
    kinds = {bool: absl_flags.DEFINE_boolean, int: absl_flags.DEFINE_integer, float: absl_flags.DEFINE_float}
    define_flag: Any = kinds.get(type(extra.default), absl_flags.DEFINE_string)
    define_flag(name, extra.default, extra.why or "as in TensorFlow 1", flag_values=values, allow_override=True)


def _from_command_line(name: str) -> Value:
    if absl_flags.FLAGS.find_module_defining_flag(name, __name__) != __name__:
        return _EXTRA[name].default  # the script's flag of this name
    values = absl_flags.FlagValues()  # type: ignore[no-untyped-call]
    _define(name, _EXTRA[name], values)
    try:
        values(tuple(sys.argv), known_only=True)
    except (absl_flags.Error, ValueError) as error:
        raise UsageError(f"{error}\n--{name} is of type {type(_EXTRA[name].default).__name__}.") from error
    return cast("Value", values[name].value)
