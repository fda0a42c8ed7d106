"""`mox check`: run the contracts of `mox_core.testing` on a plugin, without test files."""

from __future__ import annotations

import argparse
import os
import sys

from mox_core.errors import MoxError
from mox_core.plugins import loader


def main(arguments: list[str]) -> int:
    """Check one plugin and return the exit status: 0 if no check fails, else 1.

    Raises:
        MoxError: if pytest is not installed.
        UnknownNameError: if no such plugin is installed.
    """
    parser = argparse.ArgumentParser(
        prog="mox check", description="Check a plugin against the contracts of mox_core.testing."
    )
    parser.add_argument("plugin", help="the plugin's name, or its entry module: mox_mynet.plugin")
    name = parser.parse_args(arguments).plugin
    try:
        import pytest  # noqa: F401, PLC0415  (only authors of plugins have it)
    except ModuleNotFoundError as error:
        raise MoxError("mox check needs pytest, which is not installed: pip install pytest") from error
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the checks print what fails
    for plugin in loader.load_plugins(loader.find_distributions(), environ=os.environ).plugins:
        if name in (plugin.name, plugin.module, plugin.module.rpartition(".")[0]):
            for warning in plugin.warnings:
                sys.stdout.write(f"plugin {plugin}, for its author: {warning}\n")
    from mox_core.testing.check import check  # noqa: PLC0415  (it needs pytest)

    return check(name)
