"""What a shell completes by TAB behind `mox`, by argcomplete: it runs `mox` anew for each TAB, and asks the parsers.

The parser of a command is the one that its `--help` is printed by. So a command of a plugin needs no more than argparse
to have its options completed.
"""

from __future__ import annotations

import argparse
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import argcomplete
from argcomplete.lexers import split_line
from argcomplete.shell_integration import shellcode

from mox_core.errors import MoxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def script(shell: str) -> str:
    """Return what a shell, 'bash', 'zsh' or 'fish', has to run at its start."""
    return str(shellcode(["mox"], shell=shell))


def complete(
    parser: argparse.ArgumentParser, summaries: Mapping[str, str], find: Callable[[str], Callable[[list[str]], int]]
) -> None:
    """Answer the question that is in the environment, and end the process.

    Args:
        parser: the parser of `mox` itself.
        summaries: what each command does, by its name.
        find: returns the function of a command.
    """
    words = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
    start = int(os.environ["_ARGCOMPLETE"]) - 1  # how many words stand before `mox`
    command = next(iter(words[start + 1 :]), "")
    if command and not command.startswith("-") and command not in summaries:
        return
    if command in summaries:
        own = _parser_of(find(command))
        if own is None:
            return
        parser = own
        os.environ["_ARGCOMPLETE"] = str(start + 2)  # the command stands for the program
    elif not command:
        _add_commands(parser, summaries)
    argcomplete.autocomplete(parser, always_complete_options=False)


def _add_commands(parser: argparse.ArgumentParser, summaries: Mapping[str, str]) -> None:
    for action in parser._actions:  # noqa: SLF001  (argparse has no other way to find one)
        if action.dest == "command":
            action.completer = lambda **_: summaries  # type: ignore[attr-defined]  # argcomplete reads it


class _Found(BaseException):
    """Ends a command when it has made its parser: no error that it may handle."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def _parser_of(command: Callable[[list[str]], int]) -> argparse.ArgumentParser | None:
    """Return the parser of a command; None for one that parses its arguments in another way."""
    try:
        with _stopped_at_parsing():
            command(["--help"])  # which every command has: one without a parser does no more than print it
    except _Found as found:
        return found.parser
    except (MoxError, SystemExit):
        pass
    return None


@contextmanager
def _stopped_at_parsing() -> Iterator[None]:
    usual = argparse.ArgumentParser.parse_known_args

    def stop(self: argparse.ArgumentParser, *_args: object, **_options: object) -> NoReturn:
        raise _Found(self)

    argparse.ArgumentParser.parse_known_args = stop  # type: ignore[method-assign]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_known_args = usual  # type: ignore[method-assign]
