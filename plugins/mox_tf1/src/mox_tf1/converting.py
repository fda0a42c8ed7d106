"""The syntax of Python 2, converted in memory by fissix where Python 3 cannot read a file of the script."""

from __future__ import annotations

import ast
import importlib.util
import io
import logging
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

_FIXERS: Final = (
    "apply", "dict", "except", "exec", "execfile", "filter", "funcattrs", "getcwdu", "has_key", "import", "input",
    "intern", "itertools", "itertools_imports", "map", "metaclass", "methodattrs", "ne", "next", "nonzero",
    "numliterals", "paren", "print", "raise", "repr", "standarderror", "sys_exc", "throw", "tuple_params", "unicode",
    "xrange", "zip",
)  # fmt: skip
"""The parts of fissix that change what Python 3 does not know. What the built-in names of scripts hold is left out."""

_UNPACKING: Final = re.compile(r"^\s*\(.*\) = xxx_todo_changeme\d*$")
"""The line that fissix adds for `def f(x, (a, b))`."""
_DIVISION: Final = re.compile(r"^from\s+__future__\s+import\b.*\bdivision\b", re.MULTILINE)
_TAB_SIZE: Final = 8


def parse_file(source: bytes, path: Path | str) -> tuple[ast.Module, SyntaxError | None]:
    """Return the syntax tree of a file, and the error of Python 3 where it had to be converted; else None.

    The lines of the tree are those of the file.

    Raises:
        SyntaxError: if neither Python 3 nor fissix can read it.
    """
    try:
        return ast.parse(source, str(path)), None
    except SyntaxError as error:
        try:
            return _converted(importlib.util.decode_source(source), str(path)), error
        except Exception:  # noqa: BLE001  (fissix raises what it likes; the error of Python 3 is the one to show)
            raise error from None


def divides_as_python_2(source: bytes) -> bool:
    """Return whether `/` between whole numbers gives whole numbers in a file of Python 2."""
    return not _DIVISION.search(importlib.util.decode_source(source))


def say_converted(path: Path | str) -> None:
    """Log that a file is converted."""
    logging.getLogger("tensorflow").warning(
        "%s is of Python 2: it is converted in memory, by fissix; its file stays as it is.", path
    )


def _converted(text: str, path: str) -> ast.Module:
    """Return the tree of a file of Python 2, with the file's own lines."""
    converted = str(_tool().refactor_string(_with_spaces(text if text.endswith("\n") else f"{text}\n"), path))
    tree = ast.parse(converted, path)
    added = [number for number, line in enumerate(converted.splitlines(), 1) if _UNPACKING.match(line)]
    for node in ast.walk(tree) if added else ():
        for name in ("lineno", "end_lineno"):
            line = getattr(node, name, None)
            if line is not None:
                setattr(node, name, line - sum(each <= line for each in added))
    return tree


@cache
def _tool() -> Any:
    from fissix.refactor import RefactoringTool  # noqa: PLC0415  (only a file of Python 2 needs it)

    return RefactoringTool([f"fissix.fixes.fix_{name}" for name in _FIXERS])


def _with_spaces(text: str) -> str:
    """Return a text with spaces in place of the tabs at the beginnings of its lines, as Python 2 counted them."""
    from fissix.pgen2 import tokenize  # noqa: PLC0415  (as above)

    inside: set[int] = set()
    for kind, _, (first, _), (last, _), _ in tokenize.generate_tokens(io.StringIO(text).readline):
        if kind == tokenize.STRING:
            inside.update(range(first + 1, last + 1))
    lines = text.splitlines(keepends=True)
    return "".join(line if number in inside else _expanded(line) for number, line in enumerate(lines, 1))


def _expanded(line: str) -> str:
    code = line.lstrip(" \t")
    return line[: len(line) - len(code)].expandtabs(_TAB_SIZE) + code
