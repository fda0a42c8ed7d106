"""`mox_core.sdk`: its names are listed and documented, and what plugin authors read never names `mox_core.engine`."""

import ast
import importlib
import inspect
import itertools
import re
from pathlib import Path

import pytest

from mox_core import sdk

ROOT = Path(__file__).parents[2]
# Each name with the module that defines it.
IMPORTED = {
    alias.name: node.module
    for node in ast.parse(inspect.getsource(sdk)).body
    if isinstance(node, ast.ImportFrom) and node.module != "__future__"
    for alias in node.names
}


def docstring_of(name):
    """That of a class or function; of a constant or a type, the text below it in the module that defines it."""
    value = getattr(sdk, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__doc__
    body = ast.parse(inspect.getsource(importlib.import_module(IMPORTED[name]))).body
    for node, below in itertools.pairwise(body):
        if re.match(rf"{name}\b[^=]*= ", ast.unparse(node)) and isinstance(below, ast.Expr):
            return ast.literal_eval(below.value)
    return None


def names_of_the_engine(text):
    return re.findall(r"mox_core[./]engine\S*", text)


def test_all_names_are_listed_in_order():
    assert len(sdk.__all__) == len(set(sdk.__all__))
    assert set(sdk.__all__) == set(IMPORTED)
    kinds = [(not name.isupper(), name[0].islower(), name) for name in sdk.__all__]
    assert kinds == sorted(kinds)  # constants, classes and types, functions


@pytest.mark.parametrize("name", sdk.__all__)
def test_every_name_has_a_docstring(name):
    assert docstring_of(name)


def test_the_reference_has_every_name():
    page = (ROOT / "docs" / "reference.md").read_text("utf-8")
    assert sorted(re.findall(r"^- `mox_core\.sdk\.(\w+)`: .", page, re.MULTILINE)) == sorted(sdk.__all__)


@pytest.mark.parametrize(
    "folder",
    ["mox_core/template", "docs/hooks", "examples/extension", *sorted(map(str, ROOT.glob("plugins/*/src")))],
    ids=lambda folder: str(Path(folder).relative_to(ROOT) if Path(folder).is_absolute() else folder),
)
def test_plugins_templates_and_examples_name_the_engine_nowhere(folder):
    paths = [path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".tmpl", ".md"}]
    assert paths
    assert {path: names for path in paths if (names := names_of_the_engine(path.read_text("utf-8")))} == {}


@pytest.mark.parametrize("page", ["guide", "tutorial", "testing-plugins"])
def test_the_pages_for_authors_name_the_engine_nowhere(page):
    assert names_of_the_engine((ROOT / "docs" / f"{page}.md").read_text("utf-8")) == []


@pytest.mark.parametrize("module", sorted(path.stem for path in (ROOT / "mox_core" / "testing").glob("*.py")))
def test_no_message_of_the_kit_names_the_engine(module):
    tree = ast.parse((ROOT / "mox_core" / "testing" / f"{module}.py").read_text("utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [text for text in texts if names_of_the_engine(text)] == []
