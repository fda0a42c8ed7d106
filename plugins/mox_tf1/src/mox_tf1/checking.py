"""`mox tf1 --check`: what of a script will not work, by name and line, without running it."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mox_tf1.converting import parse_file
from mox_tf1.importing import ScriptImports, is_view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PYTHON_2: Final = (
    (re.compile(r"^\s*print\s+[^\s(=.]|^\s*print\s*$|^\s*print\s*>>"), "print is a function: print(...)"),
    (re.compile(r"^\s*except\s+[\w.()\s,]+,\s*\w+\s*:"), "an exception gets its name by `as`: except Error as e"),
    (re.compile(r"^\s*raise\s+[\w.]+\s*,"), "an exception is raised by a call: raise Error(text)"),
    (re.compile(r"^\s*exec\s+[^\s(]"), "exec is a function: exec(...)"),
    (re.compile(r"`[^`]+`"), "backticks are gone: repr(...)"),
    (re.compile(r"\b[uU][rR](?=['\"])"), "ur'' is gone: r''"),
    (re.compile(r"<>"), "<> is gone: !="),
    (re.compile(r"(?<![\w.])0\d+(?![\w.])"), "a number in base 8 begins with 0o"),
    (re.compile(r"(?<![\w.])\d+[lL]\b"), "whole numbers have no L behind them"),
)
"""What Python 3 cannot read, and how it is written now."""

_CONVERTED: Final = "of Python 2 from here on: it will be converted in memory, by fissix; the file stays as it is."

_STRING: Final = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|#.*")


class Finding(NamedTuple):
    """A place of a script that will not work."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        """Return the finding as compilers print theirs."""
        return f"{self.file}:{self.line}: {self.text}"


class Note(Finding):
    """Something that one should know of a place that will work."""


def check_script(script: Path, source: bytes) -> list[Finding]:
    """Return what will not work, and notes, of a script and of the modules beside it that it imports."""
    findings: list[Finding] = []
    path, sys.path = sys.path, [str(script.parent), *sys.path[1:]]
    imports = ScriptImports(script.parent)
    try:
        waiting, seen = [script], {script}
        for file in waiting:
            check = _check_file(imports, file, source if file == script else file.read_bytes())
            findings += sorted(check.findings)
            new = [beside for beside in check.beside if beside not in seen]
            seen.update(new)
            waiting += new
    finally:
        sys.path = path
        imports.patches.close()
    return findings


class _Check(NamedTuple):
    findings: set[Finding]
    beside: list[Path]


def _check_file(imports: ScriptImports, path: Path, source: bytes) -> _Check:
    try:
        tree, converted = parse_file(source, path)
    except SyntaxError as error:
        return _Check(set(_of_python_2(path, source, error)), [])
    check = _Check(set(), [])
    if converted is not None:
        check.findings.add(Note(path.name, converted.lineno or 0, _CONVERTED))
    names: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                _note_import(imports, path, check, names, node, alias)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            _note_import_from(imports, path, check, names, node)
    _note_assigned_views(tree, names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            text = _missing(names, node)
            if text:
                check.findings.add(Finding(path.name, node.lineno, text))
    return check


def _note_import(
    imports: ScriptImports, path: Path, check: _Check, names: dict[str, Any], node: ast.Import, alias: ast.alias
) -> None:
    found = _import(imports, path, check, node, alias.name)
    if found is not None:
        root = alias.name.partition(".")[0]
        names[alias.asname or root] = found if alias.asname else imports.find(root)


def _note_import_from(
    imports: ScriptImports, path: Path, check: _Check, names: dict[str, Any], node: ast.ImportFrom
) -> None:
    found = _import(imports, path, check, node, node.module or "")
    if found is None:
        return
    for alias in node.names:
        try:
            names[alias.asname or alias.name] = None if alias.name == "*" else getattr(found, alias.name)
        except AttributeError as error:
            check.findings.add(Finding(path.name, node.lineno, _sentence(error)))


def _import(imports: ScriptImports, path: Path, check: _Check, node: ast.stmt, name: str) -> Any:
    """Return the view that a name imports; None where it imports something else, or nothing."""
    try:
        found = imports.find(name)
    except ImportError as error:
        check.findings.add(Finding(path.name, node.lineno, _sentence(error)))
        return None
    if found is None:
        spec = imports.finder.find_spec(name.partition(".")[0])
        if spec is not None:
            check.beside.extend(_files_beside(path, name))
        elif not _is_installed(name.partition(".")[0]):
            check.findings.add(
                Finding(path.name, node.lineno, f"no module {name!r} is installed, or beside the script.")
            )
    return found


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return name in sys.modules


def _files_beside(path: Path, name: str) -> Iterator[Path]:
    base = path.parent.joinpath(*name.split("."))
    yield from (file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file())


def _note_assigned_views(tree: ast.AST, names: dict[str, Any]) -> None:
    """Note `slim = tf.contrib.slim`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
            chain = _chain(node.value)
            value = _resolve(names, chain) if chain else None
            for target in node.targets:
                if isinstance(target, ast.Name) and is_view(value):
                    names.setdefault(target.id, value)


def _missing(names: dict[str, Any], node: ast.Attribute) -> str:
    """Return the sentence for the last name of `a.b.c` that is not there although `a.b` is a view."""
    chain = _chain(node)
    if not chain:
        return ""
    around = _resolve(names, chain[:-1])
    if not is_view(around):
        return ""
    try:
        getattr(around, chain[-1])
    except AttributeError as error:
        return _sentence(error)
    return ""


def _sentence(error: Exception) -> str:
    """Return an error in one line, without the list of all that is known."""
    return " ".join(line for line in str(error).splitlines() if not line.startswith("Known:"))


def _resolve(names: dict[str, Any], chain: list[str]) -> Any:
    value = names.get(chain[0])
    for name in chain[1:]:
        try:
            value = getattr(value, name)
        except AttributeError:
            return None
    return value


def _chain(node: ast.expr) -> list[str]:
    """Return ['tf', 'contrib', 'slim'] for tf.contrib.slim; nothing for anything else than names and dots."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def _of_python_2(path: Path, source: bytes, error: SyntaxError) -> Iterator[Finding]:
    """Yield the lines that only Python 2 can read; where none is found, the line at which Python 3 stops."""
    found = False
    for number, line in enumerate(source.decode("utf-8", "replace").splitlines(), 1):
        code = _STRING.sub(lambda match: match.group()[:1] * 2 if match.group()[0] != "#" else "", line)
        for pattern, text in _PYTHON_2:
            if pattern.search(code):
                found = True
                yield Finding(path.name, number, f"of Python 2: {text}.")
    if not found:
        yield Finding(path.name, error.lineno or 0, f"Python cannot read this: {error.msg}.")
