"""`mox check`: run the contracts of `mox_core.testing` on a plugin, without test files."""

from __future__ import annotations

import argparse
import os

from mox_core.errors import MoxError
from mox_core.plugins import loader
from mox_core.terminal import printing
from mox_core.terminal.pages import Styled, line


def main(arguments: list[str]) -> int:
    """Check one plugin and return the exit status: 0 if no check fails, else 1.

    Raises:
        MoxError: if pytest is not installed.
        UnknownNameError: if no such plugin is installed.
    """
    parser = argparse.ArgumentParser(
        prog="mox check", description="Check a plugin against the contracts of mox_core.testing."
    )
    known = parser.add_argument("plugin", help="the plugin's name, or its entry module: mox_mynet.plugin")
    known.completer = _names  # type: ignore[attr-defined]  # argcomplete reads it
    name = parser.parse_args(arguments).plugin
    try:
        import pytest  # noqa: F401, PLC0415  (only authors of plugins have it)
    except ModuleNotFoundError as error:
        raise MoxError("mox check needs pytest, which is not installed: pip install pytest") from error
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the checks print what fails
    for plugin in loader.load_plugins(loader.find_distributions(), environ=os.environ).plugins:
        if name in (plugin.name, plugin.module, plugin.module.rpartition(".")[0]):
            for warning in plugin.warnings:
                printing.write([line(Styled(f"plugin {plugin}, for its author: {warning}", "yellow"))])
    from mox_core.testing.check import check  # noqa: PLC0415  (it needs pytest)

    return check(name)


def _names(**_: object) -> dict[str, str]:
    """Return the names of the installed plugins, with their distributions, for TAB."""
    return {plugin.name: plugin.distribution for plugin in loader.installed_plugins().plugins}
