"""The `mox` command. It imports no TensorFlow, so that it answers at once."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from typing import TYPE_CHECKING

import mox_core
from mox_core.plugins import loader
from mox_core.plugins.hookspecs import OFFERS
from mox_core.plugins.registry import READY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mox_core.plugins.registry import Plugin


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        argv: the arguments after `mox`; those of the process if not given.
    """
    parser = argparse.ArgumentParser(prog="mox", description="MoXing-style training on today's TensorFlow.")
    parser.add_argument("--version", action="version", version=f"mox {mox_core.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    plugins = commands.add_parser("plugins", help="list the installed plugins, what they offer, and what is broken")
    plugins.add_argument("-v", "--verbose", action="store_true", help="add summaries, targets and tracebacks")
    arguments = parser.parse_args(argv)
    return list_plugins(verbose=arguments.verbose)


def list_plugins(*, verbose: bool) -> int:
    """Print every plugin; the exit status is 1 if one is broken and `MOX_STRICT_PLUGINS` is set."""
    plugins = loader.load_plugins(loader.find_distributions(), environ=os.environ)
    lines = [line for plugin in plugins.plugins for line in _describe(plugin, verbose=verbose)]
    sys.stdout.write("\n".join(lines or ["no plugin is installed"]) + "\n")
    return 1 if plugins.broken and loader.is_strict(os.environ) else 0


def _describe(plugin: Plugin, *, verbose: bool) -> Iterator[str]:
    yield f"{plugin.name}  {plugin.distribution} {plugin.version}  {plugin.state}"
    if plugin.state != READY:
        yield f"  {plugin.reason}"
    if verbose and plugin.traceback:
        yield textwrap.indent(plugin.traceback.rstrip(), "    ")
    for hook, kind in OFFERS.items():
        offers = [offer for offer in plugin.offers if isinstance(offer, kind)]
        if offers and verbose:
            yield f"  {hook}"
            for offer in offers:
                yield f"    {offer.name}: {offer.summary} [{offer.target}]"
        elif offers:
            names = ", ".join(offer.name for offer in offers)
            yield textwrap.fill(f"{hook}: {names}", 100, initial_indent="  ", subsequent_indent="    ")


if __name__ == "__main__":
    sys.exit(main())
