"""The `mox` command. It does not import TensorFlow, so that it starts fast.

A command is a function of the arguments after its name that returns the exit status. Those of the core are in
`mox_core.commands`, in modules that are imported when they are called; plugins offer more by the hook `mox_commands`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import TYPE_CHECKING, Final

from mox_core.errors import MoxError, UnknownNameError
from mox_core.plugins import loader
from mox_core.plugins.offers import CommandOffer, import_target
from mox_core.version import version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Command = Callable[[list[str]], int]

_USAGE_ERROR: Final = 2  # as in argparse
_INTERRUPTED: Final = 130  # 128 + SIGINT, as in shells
_BROKEN_PIPE: Final = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 2 after a `MoxError`, 130 after Ctrl-C.

    Args:
        argv: the arguments after `mox`; `sys.argv[1:]` if not given.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        name = _parse_name(arguments)
        status = _find_command(name)(arguments[1:])
        sys.stdout.flush()
    except MoxError as error:
        sys.stderr.write(f"mox: error: {error}\n")
        return _USAGE_ERROR
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of the output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout once more at exit
        return _BROKEN_PIPE
    return status


_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "plugins": ("mox_core.commands.plugins", "list the installed plugins, what they offer, and what is broken"),
    "show": ("mox_core.commands.show", "show one thing that a plugin offers: its owner, signature and docstring"),
    "doctor": ("mox_core.commands.doctor", "describe this machine and what is wrong with it, for an issue"),
    "new-plugin": ("mox_core.commands.new_plugin", "write a plugin to begin with, which passes its tests"),
    "check": ("mox_core.commands.check", "check a plugin against the contracts, without writing a test"),
    "predict": ("mox_core.commands.predict", "ask an exported model which classes images are of"),
    "launch": ("mox_core.commands.launch", "start a cluster of processes on this machine that run a script"),
}
"""The commands of the core by name: the module of its function `main`, and its summary.

A command of the same name that a plugin offers is called as `plugin/name`.
"""


def _parse_name(arguments: list[str]) -> str:
    """Return the name of the command; for --help and --version, print and exit."""
    parser = argparse.ArgumentParser(
        prog="mox",
        usage="mox [-h] [--version] <command> ...",
        description="MoXing-style training on today's TensorFlow.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mox {version()}")
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
            summaries[name if is_unique else plugins.qualified(plugin, offer)] = (
                f"{offer.summary} ({plugin.distribution})"
            )
    width = max(map(len, summaries))
    return "\n".join(["commands:", *(f"  {name:{width}}  {summary}" for name, summary in summaries.items())])


def _find_command(name: str) -> Command:
    """Return the function of a command.

    Raises:
        UnknownNameError: if neither the core nor a plugin has it, or more than one plugin does.
    """
    if name in _COMMANDS:
        core: Command = importlib.import_module(_COMMANDS[name][0]).main
        return core
    plugins = loader.installed_plugins()
    if not plugins.owners(CommandOffer, name):
        heading = f"unknown command {name!r}."
        raise UnknownNameError(plugins.help(CommandOffer, name, heading=heading, more_names=_COMMANDS))
    offered: Command = import_target(plugins.find(CommandOffer, name))
    return offered


if __name__ == "__main__":
    sys.exit(main())
