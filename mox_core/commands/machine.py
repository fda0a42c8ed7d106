"""What `mox doctor` looks at: versions, plugins, environment, and what TensorFlow says of itself and its devices.

TensorFlow is asked in a process of its own: where it cannot be imported, or crashes, that is what the report is for.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from mox_core.plugins import loader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from importlib_metadata import IDistribution as Distribution

    from mox_core.plugins.registry import PluginSet

_QUESTION: Final = """
import json
import tensorflow as tf
import keras
devices = [
    {"type": each.device_type, **tf.config.experimental.get_device_details(each)}
    for each in tf.config.list_physical_devices()
]
build = {name: str(value) for name, value in tf.sysconfig.get_build_info().items()}
answer = {"version": tf.__version__, "keras": keras.__version__, "backend": keras.config.backend()}
print("\\n" + json.dumps({**answer, "devices": devices, "cuda": build.get("cuda_version", "")}, default=str))
"""

_PATIENCE: Final = 300.0  # seconds: a cold disk takes a minute, and a driver that hangs takes for ever


def look() -> Machine:
    """Return this machine as the present environment has it."""
    distributions = list(loader.find_distributions())
    plugins = loader.load_plugins(distributions, environ=os.environ)
    return Machine(
        plugins=plugins,
        environ=dict(os.environ),
        versions=_versions(distributions),
        needs=_needs(distributions, ["mox-core", *(plugin.distribution for plugin in plugins.plugins)]),
        tensorflow=ask_tensorflow(),
        has_nvidia_driver=Path("/proc/driver/nvidia/version").exists(),
        python=f"{platform.python_version()} ({platform.python_implementation()}, {platform.platform()})",
        num_cpus=os.cpu_count() or 0,
    )


def ask_tensorflow(question: str = _QUESTION, *, patience: float = _PATIENCE) -> TensorFlow:
    """Return what TensorFlow says in a process of its own, or why it says nothing.

    Args:
        question: the program of that process.
        patience: seconds after which it is killed.
    """
    command = [sys.executable, "-c", question]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience)  # noqa: S603
    except subprocess.TimeoutExpired:
        return TensorFlow(failure=f"it says nothing for {patience:g} seconds")
    if run.returncode < 0:
        return TensorFlow(failure=f"its process is ended by {signal.Signals(-run.returncode).name}")
    if run.returncode > 0:
        return TensorFlow(failure=(run.stderr.strip() or "its process fails").splitlines()[-1])
    return TensorFlow(**json.loads(run.stdout.splitlines()[-1]))


def _versions(distributions: Iterable[Distribution]) -> dict[str, str]:
    versions: dict[str, str] = {}
    for distribution in distributions:  # of two of a name, the first on the path is imported
        name, version, _ = loader.read_metadata(distribution)
        versions.setdefault(canonicalize_name(name), version)
    return versions


def _needs(distributions: Iterable[Distribution], names: Iterable[str]) -> dict[str, tuple[Requirement, ...]]:
    """Return what those of some names require in this environment."""
    asked = {canonicalize_name(name) for name in names}
    needs: dict[str, tuple[Requirement, ...]] = {}
    for distribution in distributions:
        name, version, lines = loader.read_metadata(distribution)
        if canonicalize_name(name) in asked:
            needs.setdefault(f"{name} {version}", tuple(_applying(lines)))
    return needs


def _applying(lines: Iterable[str]) -> Iterable[Requirement]:
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:  # pip refuses to install it
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


@frozen(kw_only=True)
class TensorFlow:
    """What TensorFlow says of itself.

    Attributes:
        failure: why it says nothing; empty where it does.
        version: its own.
        keras: the version of Keras that comes with `import keras`.
        backend: on what Keras computes.
        devices: a dict for each one, with its 'type' and what is known of it.
        cuda: the version of CUDA that it was built for; empty without.
    """

    failure: str = ""
    version: str = ""
    keras: str = ""
    backend: str = "tensorflow"
    devices: tuple[Mapping[str, Any], ...] = field(default=(), converter=tuple)
    cuda: str = ""


@frozen(kw_only=True)
class Machine:
    """All that the report is made of, as a value.

    Attributes:
        plugins: what is installed for mox.
        environ: environment variables.
        versions: the version of every distribution, by its canonical name.
        needs: what mox-core and the distributions of plugins require, by their names with versions.
        tensorflow: what TensorFlow says of itself.
        has_nvidia_driver: whether the system has a driver for NVIDIA's GPUs.
        python: version and platform.
        num_cpus: how many there are.
    """

    plugins: PluginSet
    tensorflow: TensorFlow
    environ: Mapping[str, str] = field(factory=dict)
    versions: Mapping[str, str] = field(factory=dict)
    needs: Mapping[str, tuple[Requirement, ...]] = field(factory=dict)
    has_nvidia_driver: bool = False
    python: str = ""
    num_cpus: int = 1
