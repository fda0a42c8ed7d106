"""The data for `mox doctor`: versions, plugins, environment, and what TensorFlow reports of itself and its devices.

TensorFlow runs in a child process, so that the report is made even if it cannot be imported, or crashes. It
runs in an empty folder: Python looks for modules in the present one first, and a `tensorflow.py` there would be run.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from mox_core.plugins import loader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mox_core.plugins.loader import Distribution
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

_PATIENCE: Final = 300.0  # seconds: with a cold disk it takes a minute, and with a hanging driver it never ends


def look() -> Machine:
    """Return the data of this machine in the present environment."""
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
    """Run TensorFlow in a child process, and return what it reports, or why it fails.

    Args:
        question: the program of the child process; its last line is JSON with the attributes of `TensorFlow`.
        patience: seconds after which the process is killed.
    """
    command = [sys.executable, "-c", question]
    try:
        with tempfile.TemporaryDirectory() as empty:
            run = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, check=False, timeout=patience, cwd=empty
            )
    except subprocess.TimeoutExpired:
        return TensorFlow(failure=f"it says nothing for {patience:g} seconds")
    if run.returncode < 0:
        return TensorFlow(failure=f"its process is ended by {signal.Signals(-run.returncode).name}")
    if run.returncode > 0:
        return TensorFlow(failure=(run.stderr.strip() or "its process fails").splitlines()[-1])
    return TensorFlow(**json.loads(run.stdout.splitlines()[-1]))


def _versions(distributions: Iterable[Distribution]) -> dict[str, str]:
    versions: dict[str, str] = {}
    for distribution in distributions:  # of two with one name, Python imports the first on the path
        name, version, _ = loader.read_metadata(distribution)
        versions.setdefault(canonicalize_name(name), version)
    return versions


def _needs(distributions: Iterable[Distribution], names: Iterable[str]) -> dict[str, tuple[Requirement, ...]]:
    """Return the requirements of the distributions `names` in this environment, by name and version."""
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
    """What TensorFlow reports of itself.

    Attributes:
        failure: why it could not be asked; empty if it could.
        version: its version.
        keras: the version of Keras that `import keras` imports.
        backend: the backend of Keras.
        devices: a dict for each device, with its 'type' and the details that TensorFlow knows.
        cuda: the version of CUDA that it was built for; empty if it was built without.
    """

    failure: str = ""
    version: str = ""
    keras: str = ""
    backend: str = "tensorflow"
    devices: tuple[Mapping[str, Any], ...] = field(default=(), converter=tuple)
    cuda: str = ""


@frozen(kw_only=True)
class Machine:
    """The data of one machine.

    Attributes:
        plugins: the installed plugins.
        environ: the environment variables.
        versions: the version of every distribution, by its canonical name.
        needs: the requirements of mox-core and of the plugins' distributions, by name and version.
        tensorflow: what TensorFlow reports of itself.
        has_nvidia_driver: whether the system has a driver for NVIDIA's GPUs.
        python: version, implementation and platform.
        num_cpus: the number of CPUs.
    """

    plugins: PluginSet
    tensorflow: TensorFlow
    environ: Mapping[str, str] = field(factory=dict)
    versions: Mapping[str, str] = field(factory=dict)
    needs: Mapping[str, tuple[Requirement, ...]] = field(factory=dict)
    has_nvidia_driver: bool = False
    python: str = ""
    num_cpus: int = 1
