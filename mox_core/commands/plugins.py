"""`mox plugins`: list the installed plugins, their offers, errors, and warnings for their authors.

It imports the entry modules of the plugins, not the targets of their offers, so that it takes a fraction of a second.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from typing import TYPE_CHECKING, Any, Final

import attrs

from mox_core.commands.findings import slowness
from mox_core.plugins import loader
from mox_core.plugins.hookspecs import OFFERS
from mox_core.plugins.registry import READY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_core.plugins.offers import Offer
    from mox_core.plugins.registry import Plugin


_SLOW: Final = 0.5
"""Seconds after which a plugin is named for the time that loading it takes; `mox doctor` names it earlier."""


def main(arguments: list[str]) -> int:
    """Print every plugin and return the exit status: 1 if one is broken and `MOX_STRICT_PLUGINS` is set, else 0."""
    parser = argparse.ArgumentParser(prog="mox plugins", description="List the installed plugins.")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("-v", "--verbose", action="store_true", help="add summaries, targets and tracebacks")
    how.add_argument("--json", action="store_true", help="print all that is known, for programs")
    options = parser.parse_args(arguments)
    found = loader.load_plugins(loader.find_distributions(), environ=os.environ)
    if options.json:
        sys.stdout.write(json.dumps([_as_json(plugin) for plugin in found.plugins], indent=2) + "\n")
    else:
        lines = [line for plugin in found.plugins for line in _describe(plugin, verbose=options.verbose)]
        sys.stdout.write("\n".join(lines or ["no plugin is installed"]) + "\n")
    return 1 if found.broken and loader.is_strict(os.environ) else 0


def _describe(plugin: Plugin, *, verbose: bool) -> Iterator[str]:
    yield f"{plugin.name}  {plugin.distribution} {plugin.version}  {plugin.state}"
    if plugin.state != READY:
        yield f"  {plugin.reason}"
    if plugin.seconds > _SLOW:
        yield f"  {slowness(plugin)} Every `mox --help` and every name that is looked up in vain waits for it."
    for warning in plugin.warnings:
        yield f"  for its author: {warning}"
    if verbose and plugin.traceback:
        yield textwrap.indent(plugin.traceback.rstrip(), "    ")
    for hook, offers in _by_hook(plugin).items():
        if verbose:
            yield f"  {hook}"
            for offer in offers:
                yield f"    {offer.name}: {offer.summary} [{offer.target}]"
        else:
            names = ", ".join(offer.name for offer in offers)
            yield textwrap.fill(f"{hook}: {names}", 100, initial_indent="  ", subsequent_indent="    ")


def _as_json(plugin: Plugin) -> dict[str, Any]:
    offers = {hook: [attrs.asdict(offer) for offer in offers] for hook, offers in _by_hook(plugin).items()}
    return {**attrs.asdict(plugin), "offers": offers}


def _by_hook(plugin: Plugin) -> dict[str, list[Offer]]:
    """Return the offers of a plugin by hook, without hooks that offer nothing."""
    offers = {hook: [each for each in plugin.offers if isinstance(each, kind)] for hook, kind in OFFERS.items()}
    return {hook: found for hook, found in offers.items() if found}
