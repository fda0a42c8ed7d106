"""`mox new-plugin`: write a new distribution that offers something to mox, with its tests.

The files come from `mox_core/template/`: `common/` and the folder of the kind. The suffix `.tmpl` is removed, the
folder `package` gets the package's name, and `string.Template` substitutes the names of `_names`.
"""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import os
import re
import shlex
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final

from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.errors import UsageError
from mox_core.version import version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.abc import Traversable


KINDS: Final[Mapping[str, str]] = {
    "network": "a network",
    "dataset": "a data set",
    "augmentation": "a data augmentation",
    "optimizer": "an optimizer",
    "wrapper": "an optimizer wrapper",
    "hook": "a session hook",
    "exporter": "an export format",
}
"""The kinds of plugins, each with its name in a sentence."""

_SUFFIX: Final = ".tmpl"


def main(arguments: list[str]) -> int:
    """Run `mox new-plugin ...` and return the exit status.

    Raises:
        UsageError: if the name or the kind is not allowed, or the folder exists or cannot be written.
    """
    options = _parser().parse_args(arguments)
    names = _names(options.name, options.kind)
    folder = Path(options.into, options.name)
    _write(folder, _files(options.kind, names))
    sys.stdout.write(_next_steps(folder, options.kind, names))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mox new-plugin",
        description=(
            "Write a distribution that offers something to mox: code, tests, README, pyproject.toml and CI. Its tests "
            "pass at once; then change the code to what you want."
        ),
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="of the distribution and its folder, mox-mynet say")
    kind = parser.add_argument("--kind", required=True, metavar="KIND", help=f"what it offers: {', '.join(KINDS)}")
    kind.completer = lambda **_: KINDS  # type: ignore[attr-defined]  # argcomplete reads it
    parser.add_argument("--into", default=".", metavar="FOLDER", help="where its folder is made (default: here)")
    return parser


def _names(distribution: str, kind: str) -> dict[str, str]:
    """Return the values of the placeholders in the templates.

    Raises:
        UsageError: if the kind is unknown, or the name cannot be that of a distribution or of its package.
    """
    if kind not in KINDS:
        hint = did_you_mean(nearest(kind, KINDS)) or f"The kinds are {', '.join(KINDS)}."
        raise UsageError(f"unknown kind {kind!r}. {hint}")
    if not re.fullmatch(r"[A-Za-z0-9]+([-_.]+[A-Za-z0-9]+)*", distribution):
        raise UsageError(
            f"{distribution!r} cannot be the name of a distribution: it holds letters, digits and, between them, "
            "'-', '_' or '.', as in 'mox-mynet'."
        )
    package = re.sub(r"[-_.]+", "_", distribution).lower()
    name = package.removeprefix("mox_")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(
            f"{distribution!r} cannot be used: what it offers would be called {name!r}, which cannot be a name in "
            "Python. Choose another one, as 'mox-mynet'."
        )
    if importlib.util.find_spec(package) is not None:
        raise UsageError(
            f"{distribution!r} cannot be used: a package {package!r} is installed already, and one of them would hide "
            "the other. Choose another name, or uninstall that one."
        )
    major, minor = version().split(".")[:2]
    return {
        "distribution": distribution,
        "package": package,
        "plugin": name.replace("_", "-"),
        "name": name.upper() if kind == "exporter" else name,
        "title": "".join(part.capitalize() for part in name.split("_")),
        "summary": f"{KINDS[kind].capitalize()} for mox",
        "core": f">={major}.{minor},<{major}.{int(minor) + 1}",
    }


def _files(kind: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return the content of each file by its path in the distribution."""
    root = resources.files("mox_core") / "template"
    return {
        path.replace("/package/", f"/{names['package']}/").removesuffix(_SUFFIX): Template(text).substitute(names)
        for folder in ("common", kind)
        for path, text in _walk(root / folder, "")
    }


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(entry, f"{path}{entry.name}/")
        else:
            yield path + entry.name, entry.read_text(encoding="utf-8")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write all files into a new folder, or none of them.

    Raises:
        UsageError: if the folder exists or cannot be written.
    """
    if os.path.lexists(folder):
        raise UsageError(f"{str(folder)!r} exists, and nothing is overwritten: give another name, or another --into.")
    if not folder.parent.is_dir():
        raise UsageError(f"--into is {str(folder.parent)!r}, which is no folder: make it first, or give another one.")
    try:
        place = Path(tempfile.mkdtemp(prefix=".new-plugin-", dir=folder.parent))
        try:
            for path, text in files.items():
                file = place / folder.name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="\n")
            (place / folder.name).rename(folder)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"{str(folder)!r} cannot be written: {error}. Give another --into.") from error


def _next_steps(folder: Path, kind: str, names: Mapping[str, str]) -> str:
    return f"""\
wrote {folder}: {KINDS[kind]} for mox. Next:

  cd {shlex.quote(str(folder))}
  pip install -e '.[dev]'
  pytest                     # passes at once
  mox plugins                # lists it as {names["plugin"]!r}

src/{names["package"]}/{kind}.py is the code to change, README.md says how it is used.
"""
