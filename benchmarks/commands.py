"""Measure how long `mox plugins` takes with ten plugins, in processes of their own: the bound is half a second.

    python benchmarks/commands.py [--plugins 10] [--rounds 20]

The plugins are made for it in a folder on the path, as pip would install them, each with two dozen offers; mox-core is
that of this Python. An empty process of Python takes turns with the command, to tell what the machine does: on a busy
one, look at the CPU time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLUGIN = """
from mox_core.plugins import NetworkMeta, NetworkOffer, OptimizerOffer, hookimpl

@hookimpl
def mox_networks():
    meta = NetworkMeta(default_image_size=224, default_labels_offset=0)
    for number in range(12):
        yield NetworkOffer(f"NAME_{number}", "NAME.networks:build", summary="a network", meta=meta)

@hookimpl
def mox_optimizers():
    for number in range(12):
        yield OptimizerOffer(f"NAME_{number}", "NAME.optimizers:make", summary="an optimizer")
"""


def install(folder: Path, name: str) -> None:
    """Lay a distribution with one plugin into a folder."""
    package, info = folder / name, folder / f"{name}-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "plugin.py").write_text(PLUGIN.replace("NAME", name), encoding="utf-8")
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: mox-core\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[mox]\n{name} = {name}.plugin\n", encoding="utf-8")


def seconds(command: list[str], environ: dict[str, str]) -> tuple[float, float]:
    """Return how long a process takes, and how long a CPU works for it."""
    start, before = time.perf_counter(), os.times()
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    worked = after.children_user - before.children_user + after.children_system - before.children_system
    return time.perf_counter() - start, worked


def installed() -> int:
    """Return how many plugins this Python has already."""
    from mox_core.plugins import loader

    return len(loader.load_plugins(loader.find_distributions(), environ={}).plugins)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how long `mox plugins` takes.")
    parser.add_argument("--plugins", type=int, default=10, help="how many are installed")
    parser.add_argument("--rounds", type=int, default=20, help="how often each process is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(max(0, options.plugins - installed())):
            install(Path(folder), f"fake{number}")
        environ = {**os.environ, "PYTHONPATH": folder}
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            f"mox plugins, {options.plugins} installed": [sys.executable, "-m", "mox_core.cli", "plugins"],
        }
        measured: dict[str, list[tuple[float, float]]] = {what: [] for what in commands}
        for _ in range(options.rounds + 1):
            for what, command in commands.items():
                measured[what].append(seconds(command, environ))
    for what, times in measured.items():
        taken, worked = zip(*times[1:], strict=True)  # the first one compiles the modules
        print(
            f"{what:30} median {statistics.median(taken):.3f} s, slowest {max(taken):.3f} s, "
            f"CPU time {statistics.median(worked):.3f} s"
        )


if __name__ == "__main__":
    main()
