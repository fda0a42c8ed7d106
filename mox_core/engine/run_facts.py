"""What is noted of a run for those who compare it with others: its arguments, flags, versions and machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.checkpoint_paths import as_given
from mox_core.flags import changed_flags, script_flags

if TYPE_CHECKING:
    from mox_core.arguments import RunConfig

_NUMBERS: Final = (
    "run_mode",
    "inter_mode",
    "batch_size",
    "auto_batch",
    "max_number_of_steps",
    "log_every_n_steps",
    "output_every_n_steps",
    "save_summary_steps",
    "save_model_secs",
    "save_model_steps",
)
_DISTRIBUTIONS: Final = ("mox-core", "tensorflow", "keras", "numpy")


def facts_of(config: RunConfig) -> dict[str, Any]:
    """Return what is noted of a run."""
    arguments: dict[str, Any] = {name: getattr(config, name) for name in _NUMBERS}
    functions: dict[str, Any] = {
        "input_fn": [config.input_fn],
        "model_fn": [config.model_fn],
        "optimizer_fn": config.optimizer_fns,
    }
    if config.output_fn is not None:
        functions["output_fn"] = [config.output_fn]
    arguments |= {name: ", ".join(map(_name_of, each)) for name, each in functions.items() if each}
    if config.exports_as:
        arguments["export_model"] = ", ".join(each.name for each in config.exports_as)
    arguments["checkpoint_path"] = as_given(config.checkpoint_path, config.checkpoint_url)
    return {
        "script": Path(sys.argv[0]).name,
        "arguments": {name: value for name, value in arguments.items() if value is not None},
        "flags": script_flags() | changed_flags(),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in _DISTRIBUTIONS}},
        "machine": _machine(config),
    }


def _machine(config: RunConfig) -> dict[str, Any]:
    devices = [str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in _gpus()]
    workers = len(config.cluster.workers) if config.cluster is not None else 1
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "GPUs": ", ".join(devices) or "none",
        "workers": workers,
        "replicas": config.num_replicas,
    }


def _gpus() -> list[Any]:
    return list(tf.config.list_physical_devices("GPU"))


def _name_of(function: Any) -> str:
    """Return the name of a function as its source has it; that of its class where it has none."""
    return str(getattr(function, "__qualname__", type(function).__qualname__)).rpartition("<locals>.")[2]
