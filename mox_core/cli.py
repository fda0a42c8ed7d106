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
from mox_core.terminal import pages, printing
from mox_core.terminal.pages import Styled, Table, line
from mox_core.version import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mox_core.terminal.pages import Block

    Command = Callable[[list[str]], int]

_USAGE_ERROR: Final = 2  # as in argparse
_INTERRUPTED: Final = 130  # 128 + SIGINT, as in shells
_BROKEN_PIPE: Final = 141  # 128 + SIGPIPE
_CORE: Final = "mox-core"
_SHELLS: Final = ("bash", "zsh", "fish")
_COMPLETION: Final = (
    "print what makes TAB complete commands, options and names in bash, zsh or fish: "
    'eval "$(mox --completion bash)" in .bashrc does it for bash'
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 2 after a `MoxError`, 130 after Ctrl-C.

    Args:
        argv: the arguments after `mox`; `sys.argv[1:]` if not given.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _complete() if "_ARGCOMPLETE" in os.environ else _run(arguments)
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
    "weights": ("mox_core.commands.weights", "make a checkpoint of weights that another program wrote, or list them"),
    "launch": ("mox_core.commands.launch", "start a cluster of processes on this machine that run a script"),
}
"""The commands of the core by name: the module of its function `main`, and its summary.

A command of the same name that a plugin offers is called as `plugin/name`.
"""


def _run(arguments: list[str]) -> int:
    parser = _parser()
    if not arguments:
        _print_help(parser)
        return 0
    if arguments[0] in ("-h", "--help"):
        _print_help(parser)
        parser.exit()
    options = parser.parse_args(arguments[: 2 if arguments[0] == "--completion" else 1])
    if options.completion:
        from mox_core.commands.completion import script  # noqa: PLC0415  (as commands)

        sys.stdout.write(script(options.completion))
        return 0
    if options.command is None:
        parser.error("a command is missing")
    return _find_command(options.command)(arguments[1:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mox",
        usage="mox [-h] [--version] [--completion SHELL] <command> ...",
        description="MoXing-style training on today's TensorFlow.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mox {version()}")
    parser.add_argument("--completion", choices=_SHELLS, metavar="SHELL", help=_COMPLETION)
    parser.add_argument("command", nargs="?", help="one of those below; `mox <command> --help` says more")
    return parser


def _print_help(parser: argparse.ArgumentParser) -> None:
    if printing.is_terminal():
        printing.write(_help_page(parser))
        return
    rows = [(name, f"{summary} ({home})" if home != _CORE else summary) for name, summary, home in _list_commands()]
    parser.epilog = "\n".join(["commands:", *pages.as_plain(Table(rows))])
    parser.print_help()


def _help_page(parser: argparse.ArgumentParser) -> Iterator[Block]:
    yield line(Styled("usage: ", "bold"), parser.format_usage().partition(": ")[2].strip())
    yield line()
    yield line(str(parser.description))
    yield line()
    yield Table(list(_list_commands()), ("bold cyan", "", "dim"), ("command", "what it does", "from"))
    yield line()
    options = [("mox <command> --help", "what a command takes"), ("mox --version", "the version of mox-core")]
    yield Table([*options, ("mox --completion SHELL", _COMPLETION)], ("bold",))


def _list_commands() -> Iterator[tuple[str, str, str]]:
    """Yield each command: its name, its summary, and the distribution that it is from."""
    for name, (_, summary) in _COMMANDS.items():
        yield name, summary, _CORE
    plugins = loader.installed_plugins()
    for name in plugins.names(CommandOffer):
        claimants = plugins.claimants(CommandOffer, name)
        for plugin, offer in plugins.owners(CommandOffer, name):
            is_unique = claimants == [(plugin, offer)] and name not in _COMMANDS
            yield name if is_unique else plugins.qualified(plugin, offer), offer.summary, plugin.distribution


def _complete() -> int:
    """Answer a shell that asks what can stand at its cursor."""
    from mox_core.commands import completion  # noqa: PLC0415  (as commands)

    completion.complete(_parser(), {name: summary for name, summary, _ in _list_commands()}, _find_command)
    return 0


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
