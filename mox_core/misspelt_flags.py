"""Flags on the command line that look like one of mox's own, misspelt, and that nobody knows; and those of no effect.

mox reads its flags beside those that a script reads by itself, so that it cannot refuse what it does not know. The rule
to keep: no false alarm. A flag counts as known if absl has it, if a parser of argparse has it or takes it for a
shortened one, or if its name stands in the code of the program, whatever parses it there. What stands behind `--` is
nobody's.
"""

from __future__ import annotations

import itertools
import logging
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from absl import flags as absl_flags

from mox_core.did_you_mean import nearest
from mox_core.flags import names, names_without_effect, warn_of_no_effect
from mox_core.name_lists import listed
from mox_core.user_code import is_users

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator, Sequence

_FLAG: Final = re.compile(r"--?([A-Za-z][\w-]*)(?:=.*)?", re.DOTALL)

_NEAR: Final = 0.75
"""The similarity from which a name is taken for a misspelt one: num_gpu, ngpus, task_id, but not num_steps."""

_LONGEST_SHOWN: Final = 80


def warn_of_misspelt_flags() -> None:
    """Log a warning for each flag that nobody knows and that is near one of mox's, and for each of no effect, once."""
    _warn(tuple(sys.argv[1:]))


@cache
def _warn(arguments: tuple[str, ...]) -> None:
    for argument, near in _misspelt(arguments):
        shown = argument if len(argument) <= _LONGEST_SHOWN else f"{argument[:_LONGEST_SHOWN]}..."
        logging.getLogger("tensorflow").warning(
            "%r on the command line is no flag of mox, and nothing in this program seems to read it: did you mean %s?",
            shown,
            listed([f"--{name}" for name in near], "or"),
        )
    for name in _without_effect(arguments):
        warn_of_no_effect(name)


def _without_effect(arguments: Sequence[str]) -> Iterator[str]:
    """Yield each of mox's flags that has no effect, and that is not one of the script under the same name."""
    unused = names_without_effect()
    for argument in itertools.takewhile(lambda each: each != "--", arguments):
        found = _FLAG.fullmatch(argument)
        name = found.group(1) if found else ""
        name = name if name in unused else name.removeprefix("no")
        if name not in unused or absl_flags.FLAGS.find_module_defining_flag(name) != "mox_core.flags":
            continue
        if not _argparse_knows(name) and not any(_stands_in(name, path) for path in _files_of_program()):
            yield name


def _misspelt(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each argument that is a misspelt flag, with the names that it is near to."""
    own, excused = names(), _excused(arguments)
    for argument in arguments:
        if argument == "--":
            return
        found = _FLAG.fullmatch(argument)
        name = found.group(1) if found else ""
        near = nearest(_plain(name), own, at_least=_NEAR) if name and name not in own + excused else []
        if near and not _is_known(name):
            yield argument, near


def _excused(arguments: Sequence[str]) -> list[str]:
    """Return the names that `--undefok`, a flag of absl, says to pass over."""
    lists = [argument.partition("undefok=")[2] for argument in arguments if argument.lstrip("-").startswith("undefok=")]
    return ",".join(lists).split(",")


def _is_known(name: str) -> bool:
    return _absl_knows(name) or _argparse_knows(name) or any(_stands_in(name, path) for path in _files_of_program())


def _absl_knows(name: str) -> bool:
    known = absl_flags.FLAGS
    return name in known or (name.startswith("no") and name[2:] in known and known[name[2:]].boolean)


def _argparse_knows(name: str) -> bool:
    """Return whether a parser that is still there has the flag, or one that begins with it."""
    argparse = sys.modules.get("argparse")
    if argparse is None:
        return False
    import gc  # noqa: PLC0415  (hardly ever needed)

    parsers = [each for each in gc.get_objects() if isinstance(each, argparse.ArgumentParser)]
    usages = " ".join(each.format_usage() for each in parsers)
    return re.search(rf"(?<![\w-])--?{re.escape(name)}", usages) is not None


def _files_of_program() -> list[Path]:
    """Return the source files of the modules that are neither Python's, nor installed, nor mox's."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return [Path(file) for file in dict.fromkeys(files) if isinstance(file, str) and is_users(file)]


def _stands_in(name: str, path: Path) -> bool:
    """Return whether the code of a file has the name: as a string, an option in a text, a parameter or a field."""
    import ast  # noqa: PLC0415  (hardly ever needed)

    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # an extension, or bytecode alone
        return False
    return any(_names_it(name, node) for node in ast.walk(tree))


def _names_it(name: str, node: ast.AST) -> bool:
    import ast  # noqa: PLC0415  (hardly ever needed)

    plain = _plain(name)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        option = rf"(?<![\w-])--?{re.escape(name)}(?![\w-])"  # as in the usage that docopt reads
        return node.value == name or re.search(option, node.value) is not None
    if isinstance(node, ast.Call):  # add_argument("--num_gpus_of_mine") takes --num_gpu, too
        texts = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        return any(text.startswith(f"--{name}") for text in texts)
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return _plain(node.target.id) == plain  # a field of a class that a parser is made of
    return isinstance(node, ast.arg) and _plain(node.arg) == plain  # a parameter, as fire and typer read it


def _plain(name: str) -> str:
    return name.replace("-", "_")
