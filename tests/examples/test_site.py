"""The site of the documents: it builds without a warning, needs nothing from elsewhere, and says what the code says."""

import html
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import mox_core as mox
from mox_core.plugins.hookspecs import OFFERS

pytest.importorskip("sphinx", reason="the extra `docs` needs Python 3.11 or later")

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / "docs" / "hooks"


def build(source, to, *options):
    """Build a site as `make docs` does."""
    command = ["-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-c", ROOT / "docs" / "site", *options]
    return subprocess.run([sys.executable, *command, source, to], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    run = build(ROOT, folder)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


@pytest.fixture(scope="module")
def hook_pages():
    sys.path.insert(0, str(ROOT / "docs" / "site"))
    try:
        return runpy.run_path(str(ROOT / "docs" / "site" / "hook_pages.py"))
    finally:
        sys.path.pop(0)


def text_of(page):
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text("utf-8")))


def test_make_docs_builds_as_the_tests_do():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "-m sphinx --quiet --fail-on-warning --keep-going -c docs/site . build/site" in makefile


@pytest.mark.slow
def test_the_site_begins_with_a_page_in_either_language(site):
    assert 'url=docs/index.html"' in (site / "index.html").read_text("utf-8").replace("; ", "")
    assert 'href="index.zh-CN.html"' in (site / "docs" / "index.html").read_text("utf-8")
    assert 'href="../README.zh-CN.html"' in (site / "docs" / "index.zh-CN.html").read_text("utf-8")
    assert "三十行代码训练自己的图片" in text_of(site / "README.zh-CN.html")


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link|iframe)\b[^>]*(?:src|href)="(\w+:[^"]*)"', page.read_text("utf-8"))
        assert not loaded, page


@pytest.mark.slow
def test_the_reference_has_the_signature_and_the_docstring_of_a_name(site):
    text = re.sub(r"\s+", " ", text_of(site / "docs" / "reference.html"))
    assert "mox.get_dataset(name, split_name, dataset_dir, **kwargs)" in text
    assert "split_name: one of mox.get_dataset_meta(name).splits_to_sizes." in text
    assert "UnknownNameError: if no plugin offers the data set, or more than one does." in text


@pytest.mark.parametrize(
    ("text", "told"), [("[here](missing.md)", "missing.md"), ("[here](#nothing-like-it)", "nothing-like-it")]
)
def test_a_link_that_leads_nowhere_ends_the_build_and_is_named(tmp_path, text, told):
    (tmp_path / "page.md").write_text(f"# A page\n\n{text}\n", "utf-8")
    run = build(tmp_path, tmp_path / "site", "-D", "root_doc=page", "-D", "include_patterns=page.md")
    assert run.returncode == 1
    assert re.search(rf"page\.md:3: WARNING: .*{told}", run.stderr)


def test_the_reference_has_every_public_name():
    listed = re.findall(r"^- `mox\.(\w+)`: .", (ROOT / "docs" / "reference.md").read_text("utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == {name for name in dir(mox) if not name.startswith("_")}


def test_every_hook_has_a_page():
    assert {path.stem for path in HOOKS.glob("mox_*.md")} == set(OFFERS)
    index = (HOOKS / "index.md").read_text("utf-8")
    assert re.findall(r"^\| \[(mox_\w+)\]\(\1\.md\)", index, re.MULTILINE) == list(OFFERS)


@pytest.mark.parametrize("hook", OFFERS)
def test_the_page_of_a_hook_says_what_the_code_says(hook, hook_pages):
    page = (HOOKS / f"{hook}.md").read_text("utf-8")
    assert page == hook_pages["page_of"](hook, page), "run: python docs/site/hook_pages.py"


def test_a_page_of_a_hook_keeps_what_was_written_by_hand(hook_pages):
    page = hook_pages["page_of"]("mox_networks", f"# out of date\n{hook_pages['END']}\n\nby hand\n")
    assert "out of date" not in page
    assert page.endswith(f"{hook_pages['END']}\n\nby hand\n")
    assert "| `meta` | `NetworkMeta` | required | what `mox.get_model_meta` returns. |" in page


def test_what_a_function_returns_is_one_item(hook_pages):
    text = hook_pages["docstrings"].as_markdown(mox.get_model_fn)
    (item,) = text.partition("**Returns**\n\n")[2].partition("\n\n")[0].splitlines()
    assert item.startswith("- A function from images")
    assert item.endswith("a dict from names to tensors.")
