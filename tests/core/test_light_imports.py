"""What must be light: `import mox_core`, the `mox` command, and the entry module of every plugin that is installed."""

import os
import subprocess
import sys

import importlib_metadata
import pytest

HEAVY = ("tensorflow", "keras", "numpy")
ENTRY_MODULES = sorted({entry.module for entry in importlib_metadata.entry_points(group="mox")})
LIGHT_MODULES = [
    "mox_core",
    "mox_core.catalog",
    "mox_core.cli",
    "mox_core.commands.check",
    "mox_core.commands.completion",
    "mox_core.commands.doctor",
    "mox_core.commands.plugins",
    "mox_core.commands.show",
    "mox_core.commands.launch",
    "mox_core.commands.new_plugin",
    "mox_core.commands.predict",
    "mox_core.commands.weights",
    "mox_core.cluster.rendezvous",
    "mox_core.datasets.checks",
    "mox_core.datasets.file_cache",
    "mox_core.datasets.image_bytes",
    "mox_core.datasets.requested_keys",
    "mox_core.serving",
    "mox_core.serving.image_files",
    "mox_core.specs",
    "mox_core.session_hooks",
    "mox_core.whole_numbers",
]


def run_python(program, *arguments):
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("module", LIGHT_MODULES + ENTRY_MODULES)
def test_a_light_module_loads_nothing_heavy(module):
    program = (
        "import importlib, sys\n"
        "importlib.import_module(sys.argv[1])\n"
        "print(*sorted(set(sys.modules) & set(sys.argv[2:])))"
    )
    assert run_python(program, module, *HEAVY).split() == []


def test_names_of_plugins_are_listed_without_loading_anything_heavy():
    program = (
        "import sys\n"
        "import mox_core as mox\n"
        "dir(mox), list(mox.NetworkKeys), list(mox.ExportKeys), mox.ModelSpec, mox.ModeKeys.TRAIN\n"
        "print(*sorted(set(sys.modules) & set(sys.argv[1:])))"
    )
    assert run_python(program, *HEAVY).split() == []


def test_help_that_no_terminal_shows_loads_neither_rich_nor_argcomplete():
    program = (
        "import sys\n"
        "from mox_core import cli\n"
        "cli.main([])\n"
        "print('loaded:', *sorted({name.partition('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    )
    assert run_python(program, *HEAVY, "rich", "argcomplete").endswith("\nloaded:\n")


def test_importing_mox_takes_less_than_a_tenth_of_a_second():
    # The best of several: what else the machine does can only make a run slower.
    program = "import time\nstart = time.perf_counter()\nimport mox_core\nprint(time.perf_counter() - start)"
    seconds = [float(run_python(program)) for _ in range(7)]
    assert min(seconds) < 0.1, f"importing mox_core took {seconds} s"
