"""From the text of a module of a script to its code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mox_tf1.converting import divides_as_python_2, parse_file, say_converted
from mox_tf1.lost_names import adapt

if TYPE_CHECKING:
    import ast
    from pathlib import Path
    from types import CodeType


def parse_module(source: bytes, path: Path | str) -> ast.Module:
    """Return the tree of a module of a script, which says so where it has to be converted.

    Raises:
        SyntaxError: if it can be read by neither Python 3 nor the converter.
    """
    tree, error = parse_file(source, path)
    if error is not None:
        say_converted(path)
    return adapt(tree, old_division=error is not None and divides_as_python_2(source))


def compile_module(tree: ast.Module, path: Path | str) -> CodeType:
    """Return the code of a tree."""
    code: CodeType = compile(tree, str(path), "exec", dont_inherit=True)
    return code
