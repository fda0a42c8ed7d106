"""The `mox` command. It imports no TensorFlow, so that it answers at once.

A command is a function of the arguments behind its name that returns the exit status. There are those of this module,
and those that plugins offer by the hook `mox_commands`.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from typing import TYPE_CHECKING, Final

import mox_core
from mox_core import launch
from mox_core.errors import MoxError, UnknownNameError
from mox_core.plugins import loader
from mox_core.plugins.hookspecs import OFFERS
from mox_core.plugins.offers import CommandOffer, import_target
from mox_core.plugins.registry import READY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mox_core.plugins.registry import Plugin

    Command = Callable[[list[str]], int]

_REFUSED: Final = 2  # as argparse has it
_INTERRUPTED: Final = 130  # 128 and the number of the signal, as shells have it
_NOT_READ: Final = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 2 after an error that mox explains, 130 after Ctrl-C.

    Args:
        argv: the arguments after `mox`; those of the process if not given.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        name = _parse_name(arguments)
        status = _find_command(name)(arguments[1:])
        sys.stdout.flush()
    except MoxError as error:
        sys.stderr.write(f"mox: error: {error}\n")
        return _REFUSED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # who reads the output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        return _NOT_READ
    return status


def list_plugins(arguments: list[str]) -> int:
    """Print every plugin; the exit status is 1 if one is broken and `MOX_STRICT_PLUGINS` is set."""
    parser = argparse.ArgumentParser(prog="mox plugins", description="List the installed plugins.")
    parser.add_argument("-v", "--verbose", action="store_true", help="add summaries, targets and tracebacks")
    verbose = parser.parse_args(arguments).verbose
    plugins = loader.load_plugins(loader.find_distributions(), environ=os.environ)
    lines = [line for plugin in plugins.plugins for line in _describe(plugin, verbose=verbose)]
    sys.stdout.write("\n".join(lines or ["no plugin is installed"]) + "\n")
    return 1 if plugins.broken and loader.is_strict(os.environ) else 0


_COMMANDS: Final[Mapping[str, tuple[Command, str]]] = {
    "plugins": (list_plugins, "list the installed plugins, what they offer, and what is broken"),
    "launch": (launch.main, "start a cluster of processes on this machine that run a script"),
}
"""The commands of the core and their summaries; one of the same name that a plugin offers is called `plugin/name`."""


def _parse_name(arguments: list[str]) -> str:
    """Return the name of the command; print the help or the version and exit if that is asked for."""
    parser = argparse.ArgumentParser(
        prog="mox",
        usage="mox [-h] [--version] <command> ...",
        description="MoXing-style training on today's TensorFlow.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mox {mox_core.__version__}")
    parser.add_argument("command", help="one of those below; `mox <command> --help` says more")
    first = arguments[:1]
    if first in (["-h"], ["--help"]):
        parser.epilog = _list_commands()
    name: str = parser.parse_args(first).command
    return name


def _list_commands() -> str:
    summaries = {name: summary for name, (_, summary) in _COMMANDS.items()}
    plugins = loader.installed_plugins()
    for name in plugins.names(CommandOffer):
        owners = plugins.owners(CommandOffer, name)
        for plugin, offer in owners:
            is_unique = len(owners) == 1 and name not in _COMMANDS
            summaries[name if is_unique else f"{plugin.name}/{name}"] = f"{offer.summary} ({plugin.distribution})"
    width = max(map(len, summaries))
    return "\n".join(["commands:", *(f"  {name:{width}}  {summary}" for name, summary in summaries.items())])


def _find_command(name: str) -> Command:
    """Return the function of a command.

    Raises:
        UnknownNameError: if neither the core nor a plugin has it, or more than one plugin does.
    """
    if name in _COMMANDS:
        return _COMMANDS[name][0]
    plugins = loader.installed_plugins()
    if not plugins.owners(CommandOffer, name):
        heading = f"unknown command {name!r}."
        raise UnknownNameError(plugins.help(CommandOffer, name, heading=heading, more_names=_COMMANDS))
    command: Command = import_target(plugins.find(CommandOffer, name))
    return command


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
