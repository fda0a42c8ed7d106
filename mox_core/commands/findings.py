"""The checks for known problems of a machine: the second half of the report of `mox doctor`.

Each check yields sentences that name a problem and its solution. The report is meant for issues, so it never contains
the value of a variable that may hold an address or a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from packaging.utils import canonicalize_name

from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.name_lists import listed
from mox_core.plugins import loader
from mox_core.plugins.hookspecs import OFFERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mox_core.commands.machine import Machine
    from mox_core.plugins.registry import Plugin

SLOW: Final = 0.1
"""Seconds after which loading a plugin counts as slow."""

_SETTINGS: Final[Mapping[str, str]] = {
    loader.DISABLE: "leaves plugins out",
    loader.STRICT: "makes a broken plugin an error",
    "CUDA_VISIBLE_DEVICES": "chooses the GPUs that TensorFlow sees",
    "KERAS_BACKEND": "chooses on what Keras computes; mox needs tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "hides log lines of TensorFlow",
    "TF_DETERMINISTIC_OPS": "chooses slower kernels that give the same result each time",
    "TF_ENABLE_ONEDNN_OPTS": "chooses kernels, and with them the last digits of results",
    "TF_FORCE_GPU_ALLOW_GROWTH": "lets TensorFlow take the memory of a GPU bit by bit",
    "TF_NUM_INTEROP_THREADS": "limits the threads of TensorFlow",
    "TF_NUM_INTRAOP_THREADS": "limits the threads of TensorFlow",
    "TF_USE_LEGACY_KERAS": "makes tf.keras Keras 2",
}
"""Environment variables that affect runs, and their effects; the report contains their values."""

_PRIVATE: Final[Mapping[str, str]] = {
    "TF_CONFIG": "makes this process one of a cluster; the flags --worker_hosts and --ps_hosts go before it",
    "TF_XLA_FLAGS": "changes what TensorFlow compiles",
    "XLA_FLAGS": "changes what TensorFlow compiles",
    "PYTHONPATH": "adds folders to look for packages in",
    "KERAS_HOME": "names the folder of Keras's settings, keras.json",
    "http_proxy": "sends traffic through a proxy; mox reaches the hosts of its own job without it",
    "https_proxy": "sends traffic through a proxy; mox reaches the hosts of its own job without it",
    "grpc_proxy": "sends traffic through a proxy; mox reaches the hosts of its own job without it",
    "no_proxy": "names hosts that are reached without a proxy",
}
"""The same, whose values may hold addresses, folders or secrets; those of proxies also exist in upper case."""


def problems(machine: Machine) -> list[str]:
    """Return the problems of a machine, each in a sentence or two."""
    checks = (_broken, _wrong_tensorflow, _unmet, _without_gpu, _misspelt, _ambiguous, _slow, _for_authors)
    return [found for check in checks for found in check(machine)]


def settings(machine: Machine) -> list[str]:
    """Return the environment variables of a machine that affect runs, with their effects."""
    told = [f"`{name}={machine.environ[name]}` {what}" for name, what in _SETTINGS.items() if name in machine.environ]
    private = [
        f"`{name}`, whose value is left out here, {what}"
        for plain, what in _PRIVATE.items()
        for name in dict.fromkeys((plain, plain.upper()))
        if machine.environ.get(name)
    ]
    return told + private


def slowness(plugin: Plugin) -> str:
    """Return how long a plugin takes to load, and why, as the rest of a sentence about it."""
    how_long = f"takes {plugin.seconds:.1f} s to load"
    if not plugin.imports:
        return f"{how_long}."
    return (
        f"{how_long}: its entry module imports {', '.join(plugin.imports[:3])}. Its author should import them in the "
        "modules that its targets name."
    )


def _broken(machine: Machine) -> Iterator[str]:
    for plugin in machine.plugins.broken:
        yield f"{_without_folders(plugin.complaint)} `mox plugins -v` prints where."


def _wrong_tensorflow(machine: Machine) -> Iterator[str]:
    tensorflow = machine.tensorflow
    if tensorflow.failure:
        yield f"TensorFlow cannot be used: {tensorflow.failure}. Try `python -c 'import tensorflow, keras'`."
    backend = machine.environ.get("KERAS_BACKEND") or tensorflow.backend
    if backend != "tensorflow":
        yield (
            f"Keras computes on {backend!r}, and mox needs 'tensorflow': set KERAS_BACKEND=tensorflow, or "
            "change it in keras.json."
        )
    if machine.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True"):
        yield "TF_USE_LEGACY_KERAS is set: tf.keras is Keras 2 then, with which mox is not tested. Unset it."


def _unmet(machine: Machine) -> Iterator[str]:
    for owner, needs in machine.needs.items():
        for need in needs:
            version = machine.versions.get(canonicalize_name(need.name))
            way_out = f"pip install '{need.name}{need.specifier}'"
            if canonicalize_name(need.name) == "mox-core":
                continue  # the plugin is broken, which is reported already
            if version is None:
                yield f"{need.name} is not installed, and {owner} needs it: {way_out}"
            elif not need.specifier.contains(version, prereleases=True):
                yield f"{need.name} {version} is installed, and {owner} is made for {need.specifier}: {way_out}"
    if "tf-slim" in machine.versions and "tf-keras" not in machine.versions:
        yield "tf-slim is installed and tf-keras, which its layers need, is not: pip install tf-keras"


def _without_gpu(machine: Machine) -> Iterator[str]:
    hidden = machine.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not machine.has_nvidia_driver or hidden or machine.tensorflow.failure:
        return
    if any(device["type"] == "GPU" for device in machine.tensorflow.devices):
        return
    why = "it does not find the libraries of CUDA" if machine.tensorflow.cuda else "it is built without CUDA"
    yield (
        f"There is a driver for NVIDIA's GPUs, and TensorFlow sees no GPU: probably {why}. "
        "pip install 'tensorflow[and-cuda]' brings them."
    )


def _misspelt(machine: Machine) -> Iterator[str]:
    known = (loader.DISABLE, loader.STRICT)
    for name in machine.environ:
        if name.startswith("MOX_") and name not in known and (near := nearest(name, known)):
            yield f"The environment variable {name} means nothing to mox. {did_you_mean(near)}"


def _ambiguous(machine: Machine) -> Iterator[str]:
    for kind in OFFERS.values():
        for name in machine.plugins.names(kind):
            owners = machine.plugins.owners(kind, name)
            if len(machine.plugins.claimants(kind, name)) > 1:
                choices = listed([machine.plugins.qualified(*owner) for owner in owners], "or")
                yield f"The {kind.kind} {name!r} is offered by {len(owners)} plugins: write {choices}."


def _slow(machine: Machine) -> Iterator[str]:
    for plugin in machine.plugins.plugins:
        if plugin.seconds > SLOW:
            yield f"Plugin {plugin} {slowness(plugin)}"


def _for_authors(machine: Machine) -> Iterator[str]:
    for plugin in machine.plugins.plugins:
        for warning in plugin.warnings:
            yield f"Plugin {plugin}, for its author: {_without_folders(warning)}"


def _without_folders(text: str) -> str:
    """Return what the loader says of a plugin with the names of files in the place of their paths."""
    return re.sub(r"\((?:/|[A-Z]:\\).*[/\\]([^/\\]+, line \d+\))", r"(\1", text)
