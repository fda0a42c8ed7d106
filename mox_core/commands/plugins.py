"""`mox plugins`: list the installed plugins, their offers, errors, and warnings for their authors.

It imports the entry modules of the plugins, not the targets of their offers, so that it takes a fraction of a second.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs

from mox_core.commands.findings import slowness
from mox_core.name_lists import some
from mox_core.plugins import loader
from mox_core.plugins.hookspecs import OFFERS
from mox_core.plugins.known_names import FIRST_PARTY
from mox_core.plugins.registry import BROKEN, OFF, READY, place_of
from mox_core.terminal import pages, printing
from mox_core.terminal.pages import Styled, Table, line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_core.plugins.offers import Offer
    from mox_core.plugins.registry import Plugin
    from mox_core.terminal.pages import Block

_NAME: Final = "bold cyan"
_STATES: Final = {READY: "green", OFF: "dim", BROKEN: "bold red"}

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
    elif found.plugins:
        printing.write(block for plugin in found.plugins for block in _describe(plugin, verbose=options.verbose))
    else:
        printing.write(_suggest())
    return 1 if found.broken and loader.is_strict(os.environ) else 0


def _suggest() -> Iterator[Block]:
    yield line("no plugin is installed")
    yield line()
    yield line("mox has these:")
    for distribution, offers in FIRST_PARTY.items():
        counted = [f"{OFFERS[hook].kind} {some(names)}" for hook, names in offers.items()]
        yield line(Styled(distribution, _NAME), f": {', '.join(counted)}", indent=2)
        yield line(Styled(f"pip install {place_of(distribution)}", "bold"), indent=4)


def _describe(plugin: Plugin, *, verbose: bool) -> Iterator[Block]:
    state = Styled(plugin.state, _STATES[plugin.state])
    yield line(Styled(plugin.name, _NAME), f"  {plugin.distribution} {plugin.version}  ", state)
    if plugin.state != READY:
        yield line(plugin.reason, indent=2)
    if plugin.seconds > _SLOW:
        waits = "Every `mox --help` and every name that is looked up in vain waits for it."
        yield line(Styled(f"{slowness(plugin)} {waits}", "yellow"), indent=2)
    for warning in plugin.warnings:
        yield line(Styled(f"for its author: {warning}", "yellow"), indent=2)
    if verbose and plugin.traceback:
        yield from (line(each, indent=4) for each in plugin.traceback.rstrip().splitlines())
    offers = _by_hook(plugin)
    if verbose:
        for hook, offered in offers.items():
            yield line(Styled(hook, "dim"), indent=2)
            rows = [(offer.name, f"{offer.summary} [{offer.target}]") for offer in offered]
            yield Table(rows, (_NAME,), indent=4, plain=_told)
    elif offers:
        names = {hook: ", ".join(offer.name for offer in offered) for hook, offered in offers.items()}
        yield Table(list(names.items()), ("dim",), plain=_listed)


def _listed(table: Table) -> Iterator[str]:
    yield from pages.filled((f"  {hook}: {names}" for hook, names in table.rows), width=100, hanging=4)


def _told(table: Table) -> Iterator[str]:
    yield from (f"    {name}: {what}" for name, what in table.rows)


def _as_json(plugin: Plugin) -> dict[str, Any]:
    offers = {hook: [attrs.asdict(offer) for offer in offers] for hook, offers in _by_hook(plugin).items()}
    return {**attrs.asdict(plugin), "offers": offers}


def _by_hook(plugin: Plugin) -> dict[str, list[Offer]]:
    """Return the offers of a plugin by hook, without hooks that offer nothing."""
    offers = {hook: [each for each in plugin.offers if isinstance(each, kind)] for hook, kind in OFFERS.items()}
    return {hook: found for hook, found in offers.items() if found}
